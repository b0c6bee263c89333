"""Intake: checks a submission and writes the run. Everything that is certainly wrong is refused here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import blake3
import msgspec

from comfyward.accounts.account import Caller
from comfyward.accounts.storage import counted
from comfyward.dispatch import transitions
from comfyward.dispatch.admission import Admission, Terms
from comfyward.dispatch.bindings import Bindings, Place
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.conversion import converted
from comfyward.dispatch.fitting import Fitted, Fitting
from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.quotas import Quotas
from comfyward.dispatch.secrets import without_secrets
from comfyward.dispatch.site_files import SiteFiles
from comfyward.errors import Conflict, InvalidRequest
from comfyward.files.guard import Guard
from comfyward.ids import new_id, new_uuid
from comfyward.runs.files import Inline, Source, Stored, Url, source_from_row, source_to_row
from comfyward.runs.run import Api, Run
from comfyward.store import new_runs, runs, workflows
from comfyward.store.db import Database, now_ms
from comfyward.store.rows import text_of
from comfyward.workflows.carried import submitted, with_editor_graph
from comfyward.workflows.graph import describe, editor_graph
from comfyward.workflows.graph_limit import GraphLimit
from comfyward.workflows.needs import models_of

PRIORITIES = range(-100, 101)


@dataclass(frozen=True)
class Submission:
    """A request for a run."""

    workflow_id: str
    prompt: Any
    files: Mapping[str, Source] = field(default_factory=dict)
    accelerator: str | None = None
    webhook: str | None = None
    extra_data: Any = None
    priority: int = 0
    timeout_s: float | None = None
    start_within_s: float | None = None
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    key_is_single_use: bool = False
    submitted_via: Api = Api.ICU
    client_id: str | None = None
    prompt_id: str | None = None
    environment: str | None = None  # None: the workflow's

    @classmethod
    def again(cls, run: Run, **changes: Any) -> Submission:
        """The submission of a run, with some fields changed.

        Leaves out what belonged to its request alone: prompt and client id, Idempotency-Key, and API.
        """
        submission = cls(
            workflow_id=run.workflow_id,
            prompt=msgspec.json.decode(run.prompt),
            files={path: source_from_row(row) for path, row in run.files.items()},
            accelerator=run.accelerator,
            webhook=run.webhook,
            extra_data=msgspec.json.decode(run.extra_data) if run.extra_data else None,
            priority=run.priority,
            timeout_s=run.timeout_s,
            start_within_s=None if run.start_by is None else (run.start_by - run.created_at) / 1000,
            tags=tuple(run.tags),
            labels=run.labels,
            environment=run.environment_name,
        )
        return replace(submission, **changes)


@dataclass(frozen=True)
class Submitted:
    """The run of a submission: a new one, or the one made earlier with the same Idempotency-Key."""

    run_id: str
    prompt_id: str
    priority: int
    created_at: int


@dataclass(frozen=True)
class RunRules:
    """The operator's rules for runs.

    `max_waiting` limits an account's queued runs. `larger_pools` holds, by pool, the fallback pool of its runs.
    """

    guard: Guard
    site_files: SiteFiles
    quotas: Quotas
    timeout_s: float
    max_timeout_s: float
    max_attempts: int
    max_waiting: int
    larger_pools: Mapping[str, str]
    graph_limit: GraphLimit

    def text_of(self, submission: Submission) -> bytes:
        """A submission's graph as JSON. Raises TooLarge, also for the editor's form of it."""
        self.graph_limit.size_of(editor_graph(submission.extra_data))
        return self.graph_limit.text_of(submission.prompt)

    def timeout(self, asked_s: float | None) -> float:
        """The timeout of a run in seconds. Raises InvalidRequest."""
        if asked_s is None:
            return self.timeout_s
        if not 0 < asked_s <= self.max_timeout_s:
            raise InvalidRequest(f"'timeout' must be above 0 and at most {self.max_timeout_s:g} seconds.")
        return asked_s

    async def files_of(self, account_id: str, submission: Submission) -> dict[str, Source]:
        """The files of a submission, with the URLs of the files where it names pages of sites of models.

        Raises InvalidUrl for a URL that the guard refuses, also the webhook's.
        """
        if submission.webhook is not None:
            self.guard.check_url(submission.webhook, "The webhook")
        return await self.site_files.files_at(account_id, submission.files)


@dataclass(frozen=True)
class _Checked:
    """A submission that has passed all checks. Its graph is in the API's form; `text` is the sent one as JSON."""

    fitted: Fitted
    extra_data: Any
    text: bytes
    workflow_id: str
    place: Place
    timeout_s: float

    @property
    def size(self) -> int:
        return len(self.text)

    def text_to_run(self, sent: Any) -> str:
        """The graph that runs, as JSON; mostly the one that was sent, which is JSON already."""
        prompt = self.fitted.graph.prompt
        return self.text.decode() if prompt is sent else text_of(prompt)


class Intake:
    """Submits, cancels and retries runs."""

    def __init__(
        self,
        db: Database,
        bindings: Bindings,
        blobs: Blobs,
        admission: Admission,
        publisher: Publisher,
        rules: RunRules,
    ) -> None:
        self._db, self._bindings, self._blobs, self._admission = db, bindings, blobs, admission
        self._publisher, self._rules, self._fitting = publisher, rules, Fitting(db)

    async def submit(self, caller: Caller, submission: Submission) -> Submitted:
        """Queues a new run, or returns the one made earlier with the same Idempotency-Key.

        A graph in the editor's form is converted. Raises NotFound, InvalidGraph, Unavailable, InvalidEnvironment,
        MissingAsset, UnknownAccelerator, InvalidRequest, QueueFull, OverQuota, IdempotencyMismatch, and
        IdempotencyKeyUsed for a single-use key.
        """
        await self._rules.quotas.check_runs(caller.account)
        checked = await self._checked(caller.account.id, submission)
        if brought := _inline_bytes(checked.fitted.brought) + counted(checked.size):
            await self._rules.quotas.check_runs(caller.account, brought)
        files_rows = await self._stored_rows(checked.fitted.brought)
        extra_data, secrets = without_secrets(checked.extra_data)
        new = await HEAVY.run(
            caller.account.id,
            checked.size,
            lambda: self._new_run(caller, submission, checked, files_rows, extra_data, has_secrets=bool(secrets)),
        )
        has_credit_limit = caller.account.credit_limit is not None
        digests = {path: files_rows.get(path, {}).get("blob", "") for path in checked.fitted.models}
        terms = Terms(digests, submission.key_is_single_use, has_credit_limit, self._rules.max_waiting)
        run_id = await self._admission.admit(new, terms, secrets)
        if run_id != new.id:
            first = await self._db.lookup(runs.get, new.account_id, run_id)
            return Submitted(first.id, first.prompt_id, first.priority, first.created_at)
        return Submitted(new.id, new.prompt_id, new.priority, new.created_at)

    async def check(self, account_id: str, submission: Submission) -> None:
        """Checks a submission without queueing it. Raises like `submit`."""
        await self._checked(account_id, submission)

    async def cancel(self, account_id: str, run_id: str) -> Run:
        """Cancels a run: a queued one ends at once, a running one at its next step. Raises NotFound.

        Does nothing for a final run.
        """
        run, change = await self._db.write(transitions.cancelled, account_id, run_id, now_ms())
        self._publisher.publish(change)
        return run

    async def retry(self, caller: Caller, run_id: str, idempotency_key: str | None = None) -> str:
        """Submits a final run again and returns the new run's id. Idempotent like `submit`.

        Raises NotFound, or Conflict if the run is not final.
        """
        run = await self._db.read(runs.get, caller.account.id, run_id)
        if not run.state.is_final:
            raise Conflict("The run has not finished yet.", hint="Cancel it first, or wait until it has finished.")
        again = Submission.again(run, idempotency_key=idempotency_key)
        return (await self.submit(caller, again)).run_id

    async def _checked(self, account_id: str, submission: Submission) -> _Checked:
        """Checks a submission, and adds the files that its graph names."""
        files = await self._rules.files_of(account_id, submission)
        text, timeout_s = self._rules.text_of(submission), self._rules.timeout(submission.timeout_s)
        size = len(text)
        graph, editors = await HEAVY.run(account_id, size, lambda: submitted(submission.prompt))
        workflow = await self._db.lookup(workflows.place, account_id, submission.workflow_id)
        environment = workflow.environment if submission.environment is None else submission.environment
        place = await self._bindings.place(submission.accelerator or workflow.accelerator, environment)
        if graph is None:
            graph = await converted(account_id, editors or {}, self._rules.graph_limit, place.catalogs)
        fitted = await self._fitting.fit(account_id, graph, size, files, place.catalogs)
        extra_data = with_editor_graph(submission.extra_data, editors)
        return _Checked(fitted, extra_data, text, workflow.id, place, timeout_s)

    def _new_run(
        self,
        caller: Caller,
        submission: Submission,
        checked: _Checked,
        files_rows: dict[str, dict[str, Any]],
        extra_data: Any,
        *,
        has_secrets: bool,
    ) -> new_runs.NewRun:
        now, within_s, place, fitted = now_ms(), submission.start_within_s, checked.place, checked.fitted
        return new_runs.NewRun(
            id=new_id(),
            account_id=caller.account.id,
            workflow_id=checked.workflow_id,
            api_key_id=caller.api_key_id,
            prompt_id=submission.prompt_id or new_uuid(),
            submitted_via=submission.submitted_via,
            client_id=submission.client_id,
            accelerator=place.accelerator,
            pool=place.pool,
            environment=place.environment.key,
            environment_name=place.environment.name,
            environment_revision=place.environment.revision,
            priority=submission.priority,
            timeout_s=checked.timeout_s,
            max_attempts=self._rules.max_attempts,
            prompt=checked.text_to_run(submission.prompt),
            extra_data=None if extra_data is None else text_of(extra_data),
            files=files_rows,
            models=models_of(fitted.graph),
            metadata=describe(fitted.graph, extra_data, fitted.packs),
            webhook=submission.webhook,
            tags=list(submission.tags),
            labels=dict(submission.labels),
            idempotency_key=submission.idempotency_key,
            request_digest=_request_digest(submission) if submission.idempotency_key else None,
            created_at=now,
            fallback_pool=self._rules.larger_pools.get(place.pool),
            start_by=None if within_s is None else now + int(within_s * 1000),
            has_secrets=int(has_secrets),
        )

    async def _stored_rows(self, brought: Mapping[str, Source]) -> dict[str, dict[str, Any]]:
        """The files in the form of the run's row; inline bytes become blobs."""
        rows = {}
        for path, source in brought.items():
            match source:
                case Inline(data):
                    blob = await self._blobs.put_bytes(data, path)
                    rows[path] = source_to_row(Stored(blob.digest, blob.size))
                case Url() | Stored():
                    rows[path] = source_to_row(source)
        return rows


def _inline_bytes(files: Mapping[str, Source]) -> int:
    return sum(len(source.data) for source in files.values() if isinstance(source, Inline))


def _request_digest(submission: Submission) -> str:
    """A digest that is equal for equal requests, for Idempotency-Key."""
    files_part = {
        path: source.data.hex() if isinstance(source, Inline) else source_to_row(source)
        for path, source in submission.files.items()
    }
    parts = [
        submission.workflow_id,
        submission.prompt,
        files_part,
        submission.accelerator,
        submission.webhook,
        submission.extra_data,
        submission.priority,
        submission.timeout_s,
        submission.start_within_s,
        list(submission.tags),
        *([submission.environment] if submission.environment else []),
    ]
    return blake3.blake3(msgspec.json.encode(parts, order="deterministic")).hexdigest()
