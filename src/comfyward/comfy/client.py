"""A client of one ComfyUI over its Unix socket: HTTP for commands and results, the websocket for early news.

Nodes can make ComfyUI answer anything, so that no answer is read further than the longest that ComfyUI itself gives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from comfyward.comfy.messages import Message, Overlong, parse_binary, parse_text
from comfyward.errors import ComfyUICrashed, ComfyUIError, EndlessAnswer, GraphRefused, UnreadableAnswer
from comfyward.python_json import NOT_JSON, read_answer

REPLY_TIMEOUT_S = 60.0
MAX_MESSAGE_BYTES = 256 << 20  # pictures arrive as messages
MAX_TEXT_BYTES = 16 << 20  # of a message that is no picture
MAX_ANSWER_BYTES = 32 << 20  # the history of one run, above all
MAX_CATALOG_BYTES = 256 << 20  # the node classes of many packs
LARGE_BYTES = 1 << 20


@dataclass(frozen=True)
class History:
    """ComfyUI's history entry of a finished prompt."""

    status: str
    outputs: dict[str, Any]
    messages: list[tuple[str, dict[str, Any]]]
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Any) -> History:
        """Raises UnreadableAnswer."""
        try:
            status = entry.get("status") or {}
            messages = [(str(name), dict(data)) for name, data in status.get("messages", [])]
            outputs, meta = _objects(entry.get("outputs")), _objects(entry.get("meta"))
        except (AttributeError, TypeError, ValueError) as error:
            raise UnreadableAnswer(f"ComfyUI's history entry of the run is malformed: {error}.") from error
        return cls(str(status.get("status_str")), outputs, messages, meta)

    @property
    def succeeded(self) -> bool:
        """True if the whole graph was executed: `status` alone is "success" for some prompts that were given up."""
        return self.status == "success" and self.message("execution_success") is not None

    def message(self, kind: str) -> dict[str, Any] | None:
        return next((data for name, data in self.messages if name == kind), None)


@dataclass(frozen=True)
class Fetched:
    """The body of an answer, and its Content-Type."""

    body: bytes
    content_type: str


class ComfyClient:
    """Every call raises ComfyUICrashed if ComfyUI cannot be reached, UnreadableAnswer if its answer is malformed, and
    EndlessAnswer if it is too long."""

    def __init__(self, socket: Path, client_id: str) -> None:
        self._client_id = client_id
        self._session = aiohttp.ClientSession(
            "http://comfyui",
            connector=aiohttp.UnixConnector(str(socket), limit=0),
            timeout=aiohttp.ClientTimeout(total=REPLY_TIMEOUT_S),
            json_serialize=lambda value: msgspec.json.encode(value).decode(),
        )

    async def __aenter__(self) -> ComfyClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    async def system_stats(self) -> dict[str, Any]:
        return await self._get("/system_stats")

    async def object_info(self) -> dict[str, Any]:
        return await self._get("/object_info", MAX_CATALOG_BYTES)

    async def extension_catalog(self) -> dict[str, Any]:
        return await self._get("/comfyward/catalog", MAX_CATALOG_BYTES)

    async def model_info(self, folder: str) -> dict[str, Any]:
        """The description of a folder's models by the pack comfyui-tooling-nodes.

        Empty if the pack is not installed or takes too long.
        """
        try:
            async with self._request("GET", f"/api/etn/model_info/{folder}") as answer:
                return await _json(answer) if answer.status == 200 else {}
        except (ComfyUIError, TimeoutError):
            return {}

    async def web_listing(self) -> dict[str, Any]:
        """The web files of packs, as our extension lists them."""
        return await self._get("/comfyward/web")

    async def fetch(self, path: str, limit: int, timeout_s: float) -> Fetched | None:
        """The answer to a GET of a path; None unless that is 200, complete and in time. Raises ComfyUICrashed."""
        how = {"headers": {"Accept-Encoding": "identity"}, "allow_redirects": False}
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._request("GET", URL(quote(path), encoded=True), **how) as answer,
            ):
                if answer.status != 200:
                    return None
                return Fetched(await _body(answer, limit), answer.headers.get("Content-Type", ""))
        except (EndlessAnswer, TimeoutError):
            return None

    async def submit(self, prompt_id: str, prompt: msgspec.Raw, extra_data: msgspec.Raw, files: dict[str, str]) -> None:
        """Queues a prompt, already encoded as JSON, under our id, with the digests of its files by their paths.

        Raises GraphRefused, also if ComfyUI accepts only a part of the graph.
        """
        body: dict[str, object] = {"prompt": prompt, "prompt_id": prompt_id, "client_id": self._client_id}
        if files:
            body["comfyward_files"] = files  # read and removed by our extension
        if bytes(extra_data) != b"null":
            body["extra_data"] = extra_data
        async with self._request("POST", "/prompt", json=body) as answer:
            data = await _json(answer)
            if answer.status == 200 and not data.get("node_errors"):
                return
            raise _refusal(data)

    async def history(self, prompt_id: str) -> History | None:
        """The history entry of a prompt, None if it is unfinished or unknown."""
        entry = (await self._get(f"/history/{prompt_id}")).get(prompt_id)
        return None if entry is None else History.of(entry)

    async def is_queued(self, prompt_id: str) -> bool:
        """True if the prompt is running or waiting in ComfyUI."""
        queue = await self._get("/queue")
        try:
            return any(item[1] == prompt_id for item in (*queue["queue_running"], *queue["queue_pending"]))
        except (TypeError, KeyError, IndexError) as error:
            raise UnreadableAnswer(f"ComfyUI's queue is malformed: {error!r}.") from error

    async def interrupt(self, prompt_id: str) -> None:
        """Stops a prompt at its next step, or removes it from the queue if it has not started."""
        await self._post("/queue", {"delete": [prompt_id]})
        await self._post("/interrupt", {"prompt_id": prompt_id})

    async def free(self) -> None:
        """Makes ComfyUI unload its models before the next prompt."""
        await self._post("/free", {"unload_models": True, "free_memory": True})

    @contextlib.asynccontextmanager
    async def messages(self) -> AsyncIterator[AsyncIterator[tuple[Message, int]]]:
        """(message, size of its frame in bytes) of the websocket, until ComfyUI closes it."""
        timeout = aiohttp.ClientWSTimeout(ws_receive=None, ws_close=1.0)
        try:
            async with self._session.ws_connect(
                f"/ws?clientId={self._client_id}", max_msg_size=MAX_MESSAGE_BYTES, timeout=timeout, heartbeat=20.0
            ) as socket:
                await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
                yield _parsed(socket)
        except aiohttp.ClientError as error:
            raise ComfyUICrashed(f"ComfyUI's websocket broke: {error}.") from error

    async def _get(self, path: str, limit: int = MAX_ANSWER_BYTES) -> dict[str, Any]:
        async with self._request("GET", path) as answer:
            if answer.status != 200:
                raise UnreadableAnswer(f"ComfyUI answered {answer.status} to GET {path}.")
            return await _json(answer, limit)

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        async with self._request("POST", path, json=body) as answer:
            if answer.status != 200:
                raise ComfyUIError(f"ComfyUI answered {answer.status} to POST {path}.")

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str | URL, **arguments: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session.closed:  # while a task of an earlier run still wants something of it
            raise ComfyUICrashed("ComfyUI was stopped.")
        try:
            async with self._session.request(method, path, **arguments) as answer:
                yield answer
        except (aiohttp.ClientError, OSError) as error:
            raise ComfyUICrashed(f"ComfyUI does not answer: {error or type(error).__name__}.") from error
        except TimeoutError as error:
            raise ComfyUIError(f"ComfyUI did not answer {method} {path} within {REPLY_TIMEOUT_S:g} s.") from error


async def _parsed(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[tuple[Message, int]]:
    async for frame in socket:
        message: Message | None = None
        if frame.type is aiohttp.WSMsgType.TEXT:
            message = await _read(frame.data) if len(frame.data) <= MAX_TEXT_BYTES else Overlong()
        elif frame.type is aiohttp.WSMsgType.BINARY:
            message = parse_binary(frame.data)
        if message is not None:
            yield message, len(frame.data)
    if socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        yield Overlong(), 0


async def _read(text: str) -> Message | None:
    return await asyncio.to_thread(parse_text, text) if len(text) > LARGE_BYTES else parse_text(text)


async def _json(answer: aiohttp.ClientResponse, limit: int = MAX_ANSWER_BYTES) -> dict[str, Any]:
    body = await _body(answer, limit)
    try:
        data = await asyncio.to_thread(read_answer, body) if len(body) > LARGE_BYTES else read_answer(body)
    except RecursionError as error:
        raise UnreadableAnswer("The result of a node is nested too deeply to be read.") from error
    except NOT_JSON as error:
        raise UnreadableAnswer(f"ComfyUI answered {answer.status} with a body that is not JSON.") from error
    if not isinstance(data, dict):
        raise UnreadableAnswer("ComfyUI answered with JSON that is not an object.")
    return data


async def _body(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body of an answer. Raises EndlessAnswer once it is longer than `limit` bytes."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > limit:
            raise EndlessAnswer(f"ComfyUI's answer to {answer.url.path} is longer than {limit >> 20} MiB.")
    return bytes(body)


def _objects(by_name: object) -> dict[str, dict[str, Any]]:
    """The objects in an object; nothing else of it is ComfyUI's own."""
    found = by_name if isinstance(by_name, dict) else {}
    return {str(name): each for name, each in found.items() if isinstance(each, dict)}


def _refusal(data: dict[str, Any]) -> GraphRefused:
    error = data.get("error")
    node_errors = _objects(data.get("node_errors"))
    if not isinstance(error, dict):
        error = {
            "type": "prompt_outputs_failed_validation",
            "message": "A part of the graph failed validation and would have been dropped",
            "details": "",
            "extra_info": {},
        }
    message = ": ".join(str(part) for part in (error.get("message"), error.get("details")) if part)
    return GraphRefused(message or "ComfyUI refused the graph.", error=error, node_errors=node_errors)
