"""The asynchronous client."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import blake3
import httpx2

from comfyward.client.checks import Check, Got, Job
from comfyward.client.errors import RunFailed
from comfyward.client.records import FINAL_STATUSES, Event, Output, Progress, Run, Source
from comfyward.client.transport import DEFAULT_URL, Transport, back_off

MAX_WAIT_S = 60.0
POLL_S = 1.0
CHUNK_BYTES = 1 << 20
DEFAULT_LIMIT = 300  # as many as the server lists
MAX_PAGE = 1000
NEXT_CURSOR = "X-Next-Cursor"  # absent where a list ends; a page may be shorter than asked for

Tell = Callable[[Job], None]


class AsyncClient:
    """A client for asynchronous code. All methods raise ApiError and Unreachable."""

    def __init__(self, url: str = DEFAULT_URL, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._transport = Transport(url, api_key)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def submit(
        self,
        prompt: Mapping[str, Any] | None = None,
        *,
        workflow: str = "default",
        files: Mapping[str, Source] | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Run:
        """Creates a run and returns it. `prompt` is a graph in ComfyUI's API format, or as its editor saves it.

        `files` maps /input/… and /models/… to URLs or local files, which are uploaded.

        `more` has the other fields of the request: accelerator, webhook, priority, timeout, tags, extra_data.
        """
        body: dict[str, Any] = {"prompt": prompt, **{name: value for name, value in more.items() if value is not None}}
        body["files"] = {path: source for path, source in (files or {}).items() if isinstance(source, str)}
        for path, source in (files or {}).items():
            if isinstance(source, Path):
                await self.upload(path, source)
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        created = await self._transport.json("POST", f"/workflows/{quote(workflow)}/runs", json=body, headers=headers)
        return await self.get(created["id"])

    async def run(self, prompt: Mapping[str, Any] | None = None, **request: Any) -> Run:
        """Creates a run and waits for its end. Raises RunFailed if it does not succeed."""
        run = await self.wait((await self.submit(prompt, **request)).id)
        if not run.succeeded:
            raise RunFailed(run)
        return run

    async def get(self, run_id: str) -> Run:
        return Run(await self._transport.json("GET", f"/runs/{quote(run_id)}"))

    async def wait(self, run_id: str, timeout_s: float | None = None) -> Run:
        """The run when it has finished, or after `timeout_s` seconds."""
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            remaining_s = MAX_WAIT_S if ends_at is None else min(MAX_WAIT_S, max(0.0, ends_at - time.monotonic()))
            run = Run(await self._transport.json("GET", f"/runs/{quote(run_id)}", params={"wait": remaining_s}))
            if run.is_over or (ends_at is not None and time.monotonic() >= ends_at):
                return run

    async def find(self, *, workflow: str | None = None, limit: int | None = None, **filters: Any) -> list[Run]:
        """Runs, newest first, filtered by `status`, `state`, `end_reason` or `accelerator`; at most `limit` (300)."""
        most = DEFAULT_LIMIT if limit is None else limit
        wanted = {"workflow": workflow, **filters}
        params = {name: value for name, value in wanted.items() if value is not None}
        found: list[Run] = []
        while True:
            page = {**params, "limit": min(most - len(found), MAX_PAGE)}
            answer = await self._transport.send("GET", "/runs", params=page)
            found += [Run(each) for each in answer.json()]
            cursor = answer.headers.get(NEXT_CURSOR)
            if cursor is None or len(found) >= most:
                return found
            params["cursor"] = cursor

    async def cancel(self, run_id: str) -> Run:
        return Run(await self._transport.json("POST", f"{_path(run_id)}/cancel"))

    async def retry(self, run_id: str, *, idempotency_key: str | None = None) -> Run:
        """Creates a new run with the same graph, files and settings, and returns it."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return await self.get((await self._transport.json("POST", f"{_path(run_id)}/retry", headers=headers))["id"])

    async def delete(self, run_id: str) -> None:
        await self._transport.send("DELETE", _path(run_id))

    async def log(self, run_id: str) -> str:
        """ComfyUI's log of the run's last attempt."""
        return (await self._transport.send("GET", f"{_path(run_id)}/log")).text

    async def follow(self, run_id: str) -> AsyncGenerator[Event, None]:
        """The events of a run, from the first to the last; a broken connection is resumed without loss."""
        path, last_seq, failures = f"{_path(run_id)}/events", 0, 0
        while True:
            try:
                async for event in self._stream(path, last_seq):
                    last_seq, failures = event.seq or last_seq, 0
                    yield event
                    if event.type == "status" and event.data["status"] in FINAL_STATUSES:
                        return
            except httpx2.TransportError as error:
                failures += 1
                await back_off(failures, error)

    async def upload(self, path: str, source: Path) -> None:
        """Uploads a file to a path of the account (/input/…, /models/…), unless the server has its bytes already."""
        digest = await asyncio.to_thread(_digest, source)
        known = await self._transport.send("HEAD", f"/files/{digest}", may_be_missing=True)
        if known.status_code == 200:
            await self._transport.send("POST", "/files", json={"path": path, "digest": digest})
            return
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.stat().st_size)}
        await self._transport.send(
            "POST", "/files", params={"path": path}, headers=headers, body=lambda: _chunks(source), timeout_s=None
        )

    async def read_workflow(self, source: Path) -> dict[str, Any]:
        """The graphs that a file carries: {"prompt": API format, "workflow": the editor's, "remarks": [sentences]}.

        One of them may be None. The server reads JSON, pictures, videos, sound, SVG, GLB and safetensors files. What
        `prompt` or else `workflow` holds can be submitted.
        """
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.stat().st_size)}
        answer = await self._transport.send(
            "POST", "/workflows/read", headers=headers, body=lambda: _chunks(source), timeout_s=None
        )
        found: dict[str, Any] = answer.json()
        return found

    async def download(self, run: Run, folder: Path, progress: Progress = lambda name, done, total: None) -> list[Path]:
        """Saves a run's outputs below a folder and returns their paths. Complete files replace existing ones."""
        return [await self._save(output, folder, progress) for output in run.outputs]

    async def call(self, method: str, path: str, *, content: bytes | None = None, **request: Any) -> httpx2.Response:
        """The answer of any route below /api/v1. Raises ApiError and Unreachable."""

        async def body() -> AsyncIterator[bytes]:
            yield content or b""

        return await self._transport.send(method, path, body=body if content is not None else None, **request)

    async def workflows(self) -> list[dict[str, Any]]:
        """All of the account's workflows, newest first."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {"limit": MAX_PAGE, **({"cursor": cursor} if cursor else {})}
            answer = await self._transport.send("GET", "/workflows", params=params)
            found += answer.json()
            cursor = answer.headers.get(NEXT_CURSOR)
            if cursor is None:
                return found

    async def check(self, workflow: Mapping[str, Any], **more: Any) -> Check:
        """Says what a workflow lacks here, in the editor's format or the API's. Changes nothing.

        `more` has environment, and prompt, the other form of the same workflow.
        """
        body = {"workflow": workflow, **{name: value for name, value in more.items() if value is not None}}
        return Check(await self._transport.json("POST", "/workflows/check", json=body))

    async def get_missing(self, workflow: Mapping[str, Any], **more: Any) -> Got:
        """Has the server get what a workflow lacks. What is under way already is not begun twice.

        `more` has, beside that of `check`, name, urls (of models, by path) and promote.
        """
        body = {"workflow": workflow, **{name: value for name, value in more.items() if value is not None}}
        return Got(await self._transport.json("POST", "/workflows/get", json=body))

    async def job(self, job_id: str) -> Job:
        """The progress of something that is being got."""
        return Job(await self._transport.json("GET", f"/workflows/get/{quote(job_id)}"))

    async def cancel_job(self, job_id: str) -> None:
        await self._transport.send("DELETE", f"/workflows/get/{quote(job_id)}")

    async def wait_for_jobs(self, jobs: Sequence[Job], tell: Tell = lambda job: None) -> list[Job]:
        """The jobs once they have ended; requests to admins are not waited for. `tell` gets each job once a second."""
        found = list(jobs)
        while True:
            found = [job if job.is_over else await self.job(job.id) for job in found]
            for job in found:
                tell(job)
            if all(job.is_over or job.kind == "request" for job in found):
                return found
            await asyncio.sleep(POLL_S)

    async def accelerators(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._transport.json("GET", "/accelerators")
        return found

    async def _save(self, output: Output, folder: Path, progress: Progress) -> Path:
        target = folder / _safe_path(output.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        done = 0
        async with self._transport.download(output.url, CHUNK_BYTES) as chunks:
            with part.open("wb") as file:
                async for chunk in chunks:
                    file.write(chunk)
                    done += len(chunk)
                    progress(output.name, done, output.size)
        part.rename(target)
        return target

    async def _stream(self, path: str, after: int) -> AsyncIterator[Event]:
        async with self._transport.events(path, after) as lines:
            kind, seq = "", None
            async for line in lines:
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    seq = int(value)
                elif name == "data":
                    yield Event(kind, json.loads(value), seq)
                    seq = None


def _path(run_id: str) -> str:
    """The path of a run. It may name the workflow `default` for any of the account's runs."""
    return f"/workflows/default/runs/{quote(run_id)}"


def _safe_path(name: str) -> Path:
    """A relative path for a file name from the server, without parts that lead out of a folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return Path(*parts) if parts else Path("output")


def _digest(source: Path) -> str:
    hasher = blake3.blake3()
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return str(hasher.hexdigest())


async def _chunks(source: Path) -> AsyncIterator[bytes]:
    with source.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
