"""The synchronous client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal

from comfyward.client.asynchronous import AsyncClient, Tell
from comfyward.client.checks import Check, Got, Job
from comfyward.client.records import Event, Progress, Run
from comfyward.client.transport import DEFAULT_URL


class Client:
    """A client for synchronous code: an AsyncClient on an event loop in a thread. Same methods, same errors."""

    def __init__(self, url: str = DEFAULT_URL, api_key: str | None = None) -> None:
        self._stack = contextlib.ExitStack()
        self._portal: BlockingPortal = self._stack.enter_context(start_blocking_portal())
        self._client = AsyncClient(url, api_key)
        self._stack.callback(self._portal.call, self._client.close)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)  # an error or interrupt ends what still goes on in the thread

    def close(self) -> None:
        self._stack.close()

    def submit(self, prompt: Mapping[str, Any] | None = None, **request: Any) -> Run:
        return self._portal.call(lambda: self._client.submit(prompt, **request))

    def run(self, prompt: Mapping[str, Any] | None = None, **request: Any) -> Run:
        return self._portal.call(lambda: self._client.run(prompt, **request))

    def get(self, run_id: str) -> Run:
        return self._portal.call(self._client.get, run_id)

    def wait(self, run_id: str, timeout_s: float | None = None) -> Run:
        return self._portal.call(self._client.wait, run_id, timeout_s)

    def find(self, **filters: Any) -> list[Run]:
        return self._portal.call(lambda: self._client.find(**filters))

    def cancel(self, run_id: str) -> Run:
        return self._portal.call(self._client.cancel, run_id)

    def retry(self, run_id: str, *, idempotency_key: str | None = None) -> Run:
        return self._portal.call(lambda: self._client.retry(run_id, idempotency_key=idempotency_key))

    def read_workflow(self, source: Path) -> dict[str, Any]:
        return self._portal.call(self._client.read_workflow, source)

    def delete(self, run_id: str) -> None:
        self._portal.call(self._client.delete, run_id)

    def log(self, run_id: str) -> str:
        return self._portal.call(self._client.log, run_id)

    def follow(self, run_id: str) -> Iterator[Event]:
        events = self._client.follow(run_id)

        async def following() -> Event | None:
            return await anext(events, None)

        while True:
            asked = self._portal.start_task_soon(following)
            try:
                event = asked.result()
            except BaseException:  # an interrupt of this thread (Ctrl-C) ends the events too; others come from them
                asked.cancel()
                raise
            if event is None:
                return
            try:
                yield event
            except GeneratorExit:
                self._portal.call(events.aclose)
                raise

    def upload(self, path: str, source: Path) -> None:
        self._portal.call(self._client.upload, path, source)

    def download(self, run: Run, folder: Path, progress: Progress = lambda name, done, total: None) -> list[Path]:
        return self._portal.call(self._client.download, run, folder, progress)

    def call(self, method: str, path: str, **request: Any) -> httpx2.Response:
        return self._portal.call(lambda: self._client.call(method, path, **request))

    def workflows(self) -> list[dict[str, Any]]:
        return self._portal.call(self._client.workflows)

    def check(self, workflow: Mapping[str, Any], **more: Any) -> Check:
        return self._portal.call(lambda: self._client.check(workflow, **more))

    def get_missing(self, workflow: Mapping[str, Any], **more: Any) -> Got:
        return self._portal.call(lambda: self._client.get_missing(workflow, **more))

    def job(self, job_id: str) -> Job:
        return self._portal.call(self._client.job, job_id)

    def cancel_job(self, job_id: str) -> None:
        self._portal.call(self._client.cancel_job, job_id)

    def wait_for_jobs(self, jobs: Sequence[Job], tell: Tell = lambda job: None) -> list[Job]:
        return self._portal.call(self._client.wait_for_jobs, jobs, tell)

    def accelerators(self) -> list[dict[str, Any]]:
        return self._portal.call(self._client.accelerators)
