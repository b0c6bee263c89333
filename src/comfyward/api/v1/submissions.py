"""Creating runs through v1, and running them again."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.own_urls import OwnUrls
from comfyward.api.public_url import PublicUrl
from comfyward.api.v1 import answers
from comfyward.api.v1.runs import requested_run
from comfyward.dispatch.intake import PRIORITIES, Intake, Submission
from comfyward.errors import InvalidRequest
from comfyward.runs.files import Inline, Source, parse_files
from comfyward.store import workflows
from comfyward.store.db import Database

MAX_INLINE_BYTES = 8 << 20
MAX_KEY_LENGTH = 200
YEAR_S = 366 * 24 * 3600
KEYED = {"Idempotency-Key": "The same key with the same request again makes no second run."}


class RunRequest(leniency.Request):
    """A run to make. The path's workflow decides; `workflow_id` is accepted for ComfyICU's clients."""

    prompt: Any = Field(
        None,
        description="The graph, in ComfyUI's API format or as its editor saves it, which is converted. An object with "
        "both (`prompt`, `workflow`) runs the first and keeps the second. Default: the workflow's saved graph.",
    )
    files: Any = Field(
        None,
        description='Files to place before the run: {"/input/a.png": "https://…"}. A value is a URL, any '
        "address of a file at Hugging Face or Civitai, a data: URL, or {url, digest, headers}.",
        examples=[{"/models/loras/style.safetensors": "https://host/style.safetensors"}],
    )
    accelerator: str | None = Field(None, max_length=60, description="A name that GET /accelerators lists.")
    environment: str | None = Field(
        None, max_length=120, description="`default`, `NAME`, or `NAME@REVISION`. Default: the workflow's."
    )
    webhook: str | None = Field(None, max_length=2000, description="URL to notify when the run starts and ends.")
    extra_data: dict[str, Any] | None = Field(None, description="ComfyUI's extra_data, e.g. the editor's graph.")
    workflow_id: str | None = None
    priority: int = Field(0, ge=PRIORITIES[0], le=PRIORITIES[-1], description="Higher runs first.")
    timeout: float | None = Field(None, description="Longest execution in seconds.", allow_inf_nan=False)
    start_within: float | None = Field(
        None, gt=0, le=YEAR_S, description="Seconds: a run that has not started by then ends.", allow_inf_nan=False
    )
    tags: list[Annotated[str, Field(max_length=100)]] = Field(default_factory=list, max_length=50)


class Submissions:
    def __init__(
        self,
        auth: Auth,
        db: Database,
        intake: Intake,
        own_urls: OwnUrls,
        public_url: PublicUrl,
        body_limit_bytes: int,
    ) -> None:
        self._auth, self._db, self._intake = auth, db, intake
        self._own_urls, self._public_url, self._limit = own_urls, public_url, body_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        runs = "/workflows/{workflow_id}/runs"
        created = Models(body=RunRequest, headers=KEYED, answer=answers.Created)
        return [
            Endpoint("POST", runs, self.create, "Create a run", created),
            Endpoint(
                "POST",
                f"{runs}/{{run_id}}/retry",
                self.retry,
                "Run it again",
                Models(headers=KEYED, answer=answers.Created),
            ),
        ]

    async def create(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        body = await read_json(request, RunRequest, self._limit)
        submission = await self._submission(request, caller.account.id, body)
        return answer({"id": (await self._intake.submit(caller, submission)).run_id})

    async def retry(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        run = await requested_run(request, self._auth, self._db)
        return answer({"id": await self._intake.retry(caller, run.id, idempotency_key(request))})

    async def _submission(self, request: Request, account_id: str, body: RunRequest) -> Submission:
        workflow_id = request.path_params["workflow_id"]
        prompt = body.prompt if body.prompt is not None else await self._saved_graph(account_id, workflow_id)
        return Submission(
            workflow_id=workflow_id,
            prompt=prompt,
            files=await self._files(request, account_id, body),
            accelerator=body.accelerator,
            environment=body.environment,
            webhook=body.webhook,
            extra_data=body.extra_data,
            priority=body.priority,
            timeout_s=body.timeout,
            start_within_s=body.start_within,
            tags=tuple(body.tags),
            idempotency_key=idempotency_key(request),
        )

    async def _saved_graph(self, account_id: str, workflow_id: str) -> Any:
        workflow = await self._db.lookup(workflows.get, account_id, workflow_id)
        saved = workflow.graph or workflow.editor_graph
        if saved is None:
            hint = "Send a graph as 'prompt', such as the content of a file that ComfyUI saved."
            raise InvalidRequest("'prompt' is missing.", hint=hint)
        return msgspec.json.decode(saved)

    async def _files(self, request: Request, account_id: str, body: RunRequest) -> dict[str, Source]:
        named = parse_files(leniency.filled(body.files))
        if not named:
            return {}
        base_url = self._public_url.of(request)
        files = {path: await self._own_urls.resolve(account_id, base_url, source) for path, source in named.items()}
        inline = sum(len(source.data) for source in files.values() if isinstance(source, Inline))
        if inline > MAX_INLINE_BYTES:
            raise InvalidRequest(
                f"The data: URLs in 'files' hold {inline} bytes; at most {MAX_INLINE_BYTES} are taken inline.",
                hint="Upload larger files with POST /api/v1/files.",
            )
        return files


def idempotency_key(request: Request) -> str | None:
    """The request's Idempotency-Key. Raises InvalidRequest."""
    key = request.headers.get("idempotency-key")
    if key is not None and len(key) > MAX_KEY_LENGTH:
        raise InvalidRequest(f"The Idempotency-Key must have at most {MAX_KEY_LENGTH} characters.")
    return key or None
