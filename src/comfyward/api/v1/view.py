"""Files as v1 shows them: outputs, thumbnails and inputs, by key or by signed link, with ranges."""

from __future__ import annotations

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from comfyward.api.auth import Auth
from comfyward.api.contents import OCTET_STREAM, Content, Contents, find_input
from comfyward.api.endpoint import Endpoint, Models
from comfyward.errors import NotFound
from comfyward.files.pictures import has_thumbnail
from comfyward.paths import INPUT_ROOT
from comfyward.runs.files import Source, Stored, Url, source_from_row
from comfyward.runs.output import Output
from comfyward.runs.run import Run
from comfyward.store import runs
from comfyward.store.db import Database


class LinkQuery(BaseModel):
    sig: str | None = Field(None, description="The signature of a link, which needs no key.")


class View:
    def __init__(self, auth: Auth, db: Database, contents: Contents) -> None:
        self._auth, self._db, self._contents = auth, db, contents

    def endpoints(self) -> list[Endpoint]:
        linked = Models(query=LinkQuery, answer=OCTET_STREAM, needs_key=False)
        thumbnail = Models(query=LinkQuery, answer="image/webp", needs_key=False)
        of_workflow = "/view/workflows/{workflow_id}"
        return [
            Endpoint("GET", f"{of_workflow}/output/{{run_id}}/{{name:path}}", self.output, "An output file", linked),
            Endpoint(
                "GET",
                f"{of_workflow}/thumbnail/{{run_id}}/{{name:path}}",
                self.thumbnail,
                "A thumbnail of an output",
                thumbnail,
            ),
            Endpoint(
                "GET",
                f"{of_workflow}/input/{{name:path}}",
                self.input,
                "An input file of a workflow",
                Models(answer=OCTET_STREAM),
            ),
            Endpoint(
                "GET",
                f"{of_workflow}/run/{{run_id}}/{{name:path}}",
                self.run_file,
                "A file that came with a run",
                linked,
            ),
            Endpoint("GET", f"{of_workflow}/temp/{{name:path}}", self.temp, "Always 404: previews are not kept"),
        ]

    async def output(self, request: Request) -> Response:
        _, found = await self._output(request)
        content = Content(found.digest, found.size, found.content_type, request.path_params["name"])
        return await self._contents.serve(request, content)

    async def thumbnail(self, request: Request) -> Response:
        run, found = await self._output(request)
        if not has_thumbnail(found.content_type):
            raise NotFound(f"'{request.path_params['name']}' is neither a picture nor a video.")
        return await self._contents.thumbnail(run.account_id, found.digest)

    async def input(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        workflow_id, name = request.path_params["workflow_id"], request.path_params["name"]
        source = await find_input(self._db, caller.account.id, workflow_id, f"{INPUT_ROOT}{name}")
        return await self._served(request, source, name)

    async def run_file(self, request: Request) -> Response:
        run, path = await self._linked_run(request), f"/{request.path_params['name']}"
        row = run.files.get(path)
        if row is None:
            raise NotFound(f"Run '{run.id}' has no file '{path}'.")
        return await self._served(request, source_from_row(row), path.rpartition("/")[2])

    async def temp(self, request: Request) -> Response:
        await self._auth.caller(request)
        raise NotFound("Previews are not kept.", hint="Use a node that saves, such as SaveImage.")

    async def _linked_run(self, request: Request) -> Run:
        """The run behind a link: by its signature, else by the caller's key. Raises NotFound, Unauthenticated."""
        run_id, signature = request.path_params["run_id"], request.query_params.get("sig")
        if signature is not None and self._auth.check_signature(request.scope["path"], signature):
            run = await self._db.lookup(runs.get_any, run_id)
        else:
            caller = await self._auth.caller(request)
            run = await self._db.lookup(runs.get, caller.account.id, run_id)
        if run is None or run.workflow_id != request.path_params["workflow_id"] or run.deleted_at is not None:
            raise NotFound(f"There is no run '{run_id}'.")
        return run

    async def _output(self, request: Request) -> tuple[Run, Output]:
        run, name = await self._linked_run(request), request.path_params["name"]
        found = run.file("output", name)
        if found is None:
            raise NotFound(f"Run '{run.id}' has no output '{name}'.")
        return run, found

    async def _served(self, request: Request, source: Source, name: str) -> Response:
        match source:
            case Url(url):
                return RedirectResponse(url, 307)
            case Stored(digest, size):
                return await self._contents.serve(request, Content(digest, size, OCTET_STREAM, name))
            case _:
                raise NotFound(f"There is no file '{name}'.")
