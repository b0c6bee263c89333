"""A Python client of comfyward.

    from comfyward.client import Client

    with Client("http://127.0.0.1:8600", "cw_…") as comfyward:
        run = comfyward.run(graph, files={"/input/cat.png": Path("cat.png")})
        comfyward.download(run, Path("pictures"))

`AsyncClient` has the same methods to be awaited; `Client` runs them on an event loop of its own. Local files are sent
by digest, so that bytes which the server has are not sent again. Requests are repeated while the server cannot be
reached; a submission carries a key, so a repeated one makes no second run.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import blake3
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal

from comfyward.errors import ComfywardError
from comfyward.ids import sign_webhook

DEFAULT_URL = "http://127.0.0.1:8600"
OVER = ("COMPLETED", "ERROR", "INSUFFICIENT_CREDIT")
LONGEST_WAIT_S = 60.0
REPLY_TIMEOUT_S = 90.0
SILENCE_S = 45.0  # a stream says something every 15 s
TRIES = 6
FIRST_PAUSE_S = 0.2
CHUNK_BYTES = 1 << 20
WEBHOOK_TOLERANCE_S = 300

Source = str | Path
Progress = Callable[[str, int, int], None]


class ApiError(ComfywardError):
    """The server refused a request: `code`, `message`, `hint`, `status` and `details` are its own."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(str(body.get("message") or f"The server answered {status}."), hint=body.get("hint"))
        self.code, self.status = str(body.get("code") or f"http_{status}"), status
        self.details = dict(body.get("details") or {}) | {"node_errors": body.get("node_errors") or {}}


class Unreachable(ComfywardError):
    """The server could not be reached, however often it was tried."""

    code = "unreachable"
    hint = "Is it running, and is the address right? (COMFYWARD_URL)"


class RunFailed(ComfywardError):
    """A run ended without success; `run` is the run."""

    code = "run_failed"

    def __init__(self, run: Run) -> None:
        error = run.data.get("error") or {}
        super().__init__(str(error.get("message") or f"The run ended: {run.end_reason}."), hint=error.get("hint"))
        self.run = run


class InvalidSignature(ComfywardError):
    """A webhook was not sent by the server that knows the secret, or is too old."""

    code = "invalid_signature"
    status = 401


@dataclass(frozen=True)
class Output:
    """A file that a run left. The URL works without a key."""

    name: str
    url: str
    size: int
    content_type: str
    node_id: str | None
    text: str | None


@dataclass(frozen=True)
class Run:
    """A run as the server describes it; `data` is the whole object."""

    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def workflow_id(self) -> str:
        return str(self.data["workflow_id"])

    @property
    def status(self) -> str:
        return str(self.data["status"])

    @property
    def end_reason(self) -> str | None:
        return self.data.get("end_reason")

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def succeeded(self) -> bool:
        return self.status == "COMPLETED"

    @property
    def outputs(self) -> list[Output]:
        """What it has left so far, or left before it failed."""
        prefix = f"/workflows/{self.workflow_id}/output/{self.id}/"
        found = self.data.get("outputs") or []
        return [
            Output(
                name=each["filename"].removeprefix(prefix),
                url=each["url"],
                size=each["size"],
                content_type=each["content_type"],
                node_id=each.get("node_id"),
                text=each.get("text"),
            )
            for each in found
        ]


@dataclass(frozen=True)
class Event:
    """Something that happened to a run.

    `type` is status, download, staged, cached, progress, preview, output or cancelling; `seq` numbers what is replayed.
    """

    type: str
    data: Mapping[str, Any]
    seq: int | None


class AsyncClient:
    """A client for asynchronous code. Every method raises ApiError and Unreachable."""

    def __init__(self, url: str = DEFAULT_URL, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx2.AsyncClient(headers=headers, timeout=REPLY_TIMEOUT_S, follow_redirects=True)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def submit(
        self,
        prompt: Mapping[str, Any] | None = None,
        *,
        workflow: str = "default",
        files: Mapping[str, Source] | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Run:
        """Makes a run and returns it. `files` maps /input/… and /models/… to URLs or local files, which are uploaded.

        `more` is the rest of the request: accelerator, webhook, priority, timeout, tags, extra_data.
        """
        body: dict[str, Any] = {"prompt": prompt, **{name: value for name, value in more.items() if value is not None}}
        body["files"] = {path: source for path, source in (files or {}).items() if isinstance(source, str)}
        for path, source in (files or {}).items():
            if isinstance(source, Path):
                await self.upload(path, source)
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        made = await self._json("POST", f"/workflows/{quote(workflow)}/runs", json=body, headers=headers)
        return await self.get(made["id"])

    async def run(self, prompt: Mapping[str, Any] | None = None, **request: Any) -> Run:
        """Makes a run and waits for its end. Raises RunFailed when it does not succeed."""
        run = await self.wait((await self.submit(prompt, **request)).id)
        if not run.succeeded:
            raise RunFailed(run)
        return run

    async def get(self, run_id: str) -> Run:
        return Run(await self._json("GET", f"/runs/{quote(run_id)}"))

    async def wait(self, run_id: str, timeout_s: float | None = None) -> Run:
        """The run once it is over, or as it is after `timeout_s`."""
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = LONGEST_WAIT_S if ends_at is None else min(LONGEST_WAIT_S, max(0.0, ends_at - time.monotonic()))
            run = Run(await self._json("GET", f"/runs/{quote(run_id)}", params={"wait": left_s}))
            if run.is_over or (ends_at is not None and time.monotonic() >= ends_at):
                return run

    async def find(self, *, workflow: str | None = None, **filters: Any) -> list[Run]:
        """Runs, newest first: `status`, `state`, `end_reason`, `accelerator`, `limit`."""
        wanted = {"workflow": workflow, **filters}
        params = {name: value for name, value in wanted.items() if value is not None}
        return [Run(each) for each in await self._json("GET", "/runs", params=params)]

    async def cancel(self, run_id: str) -> Run:
        return Run(await self._json("POST", f"{_path(run_id)}/cancel"))

    async def retry(self, run_id: str, *, idempotency_key: str | None = None) -> Run:
        """A new run with the same graph, files and settings."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return await self.get((await self._json("POST", f"{_path(run_id)}/retry", headers=headers))["id"])

    async def delete(self, run_id: str) -> None:
        await self._send("DELETE", _path(run_id))

    async def log(self, run_id: str) -> str:
        """ComfyUI's log of the run's last attempt."""
        return (await self._send("GET", f"{_path(run_id)}/log")).text

    async def follow(self, run_id: str) -> AsyncGenerator[Event, None]:
        """What happens to a run, from its first event to its last; goes on where it was after a broken connection."""
        path, seen, failures = f"{_path(run_id)}/events", 0, 0
        while True:
            try:
                async for event in self._stream(path, seen):
                    seen, failures = event.seq or seen, 0
                    yield event
                    if event.type == "status" and event.data["status"] in OVER:
                        return
            except httpx2.TransportError as error:
                failures += 1
                await _pause(failures, error)

    async def upload(self, path: str, source: Path) -> None:
        """Makes a local file the account's file at a path (/input/…, /models/…); known bytes are not sent again."""
        digest = await asyncio.to_thread(_digest, source)
        known = await self._send("HEAD", f"/files/{digest}", may_be_missing=True)
        if known.status_code == 200:
            await self._send("POST", "/files", json={"path": path, "digest": digest})
            return
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.stat().st_size)}
        await self._send(
            "POST", "/files", params={"path": path}, headers=headers, body=lambda: _pieces(source), timeout_s=None
        )

    async def download(self, run: Run, folder: Path, progress: Progress = lambda name, done, total: None) -> list[Path]:
        """Saves a run's outputs below a folder and returns where. A file of the same name is replaced at the end."""
        return [await self._save(output, folder, progress) for output in run.outputs]

    async def workflows(self) -> list[dict[str, Any]]:
        """All of the account's workflows, newest first."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {"limit": 1000, **({"cursor": cursor} if cursor else {})}
            answer = await self._send("GET", "/workflows", params=params)
            found += answer.json()
            cursor = answer.headers.get("X-Next-Cursor")
            if cursor is None:
                return found

    async def accelerators(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._json("GET", "/accelerators")
        return found

    async def _save(self, output: Output, folder: Path, progress: Progress) -> Path:
        target = folder / _inside(output.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        async with self._http.stream("GET", output.url) as answer:
            await _raise_for(answer)
            done = 0
            with part.open("wb") as file:
                async for piece in answer.aiter_bytes(CHUNK_BYTES):
                    file.write(piece)
                    done += len(piece)
                    progress(output.name, done, output.size)
        part.rename(target)
        return target

    async def _stream(self, path: str, after: int) -> AsyncIterator[Event]:
        timeout = httpx2.Timeout(REPLY_TIMEOUT_S, read=SILENCE_S)
        headers = {"Last-Event-ID": str(after)} if after else {}
        async with self._http.stream("GET", f"{self.url}/api/v1{path}", headers=headers, timeout=timeout) as answer:
            await _raise_for(answer)
            kind, seq = "", None
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    seq = int(value)
                elif name == "data":
                    yield Event(kind, json.loads(value), seq)
                    seq = None

    async def _json(self, method: str, path: str, **request: Any) -> Any:
        return (await self._send(method, path, **request)).json()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
        may_be_missing: bool = False,
        timeout_s: float | None = REPLY_TIMEOUT_S,
        **request: Any,
    ) -> httpx2.Response:
        failures = 0
        while True:
            try:
                content = body() if body else None
                answer = await self._http.request(
                    method, f"{self.url}/api/v1{path}", content=content, timeout=timeout_s, **request
                )
                if answer.status_code != 404 or not may_be_missing:
                    await _raise_for(answer)
                return answer
            except httpx2.TransportError as error:
                failures += 1
                await _pause(failures, error)


class Client:
    """A client for code that is not asynchronous: AsyncClient on an event loop of its own."""

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
        self.close()

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

    def delete(self, run_id: str) -> None:
        self._portal.call(self._client.delete, run_id)

    def log(self, run_id: str) -> str:
        return self._portal.call(self._client.log, run_id)

    def follow(self, run_id: str) -> Iterator[Event]:
        events = self._client.follow(run_id)

        async def following() -> Event | None:
            return await anext(events, None)

        try:
            while (event := self._portal.call(following)) is not None:
                yield event
        finally:
            self._portal.call(events.aclose)

    def upload(self, path: str, source: Path) -> None:
        self._portal.call(self._client.upload, path, source)

    def download(self, run: Run, folder: Path, progress: Progress = lambda name, done, total: None) -> list[Path]:
        return self._portal.call(self._client.download, run, folder, progress)

    def workflows(self) -> list[dict[str, Any]]:
        return self._portal.call(self._client.workflows)

    def accelerators(self) -> list[dict[str, Any]]:
        return self._portal.call(self._client.accelerators)


def verify_webhook(secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The run that a webhook tells of. Raises InvalidSignature. `secret` is what GET /api/v1/webhooks/secret gives.

    (Standard Webhooks: webhook-id, webhook-timestamp within five minutes, webhook-signature.)
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        age_s = abs(time.time() - int(sent_at))
    except (KeyError, ValueError) as error:
        raise InvalidSignature("The webhook is not signed.") from error
    if age_s > WEBHOOK_TOLERANCE_S:
        raise InvalidSignature("The webhook is too old.")
    expected = sign_webhook([secret], message_id, int(sent_at), body)["webhook-signature"]
    if not any(hmac.compare_digest(expected.encode(), each.encode()) for each in signatures.split(" ")):
        raise InvalidSignature("The webhook's signature is not right.")
    run: dict[str, Any] = json.loads(body)
    return run


async def _raise_for(answer: httpx2.Response) -> None:
    if answer.status_code < 400:
        return
    await answer.aread()
    try:
        body = answer.json()
    except ValueError:
        body = {}
    raise ApiError(answer.status_code, body if isinstance(body, dict) else {})


async def _pause(failures: int, error: Exception) -> None:
    """Before the next try. Raises Unreachable after the last."""
    if failures >= TRIES:
        raise Unreachable(f"The server cannot be reached: {str(error).rstrip('.') or type(error).__name__}.") from error
    await asyncio.sleep(FIRST_PAUSE_S * 2**failures)


def _path(run_id: str) -> str:
    """The path of a run; the workflow in it may be `default` for any of the account's runs."""
    return f"/workflows/default/runs/{quote(run_id)}"


def _inside(name: str) -> Path:
    """A server's name for a file as a path below a folder: nothing in it leads out."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return Path(*parts) if parts else Path("output")


def _digest(source: Path) -> str:
    hasher = blake3.blake3()
    with source.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            hasher.update(piece)
    return str(hasher.hexdigest())


async def _pieces(source: Path) -> AsyncIterator[bytes]:
    with source.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield piece
