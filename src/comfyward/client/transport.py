"""Requests to the server, retried while it cannot be reached."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2

from comfyward.client.errors import ApiError, Unreachable

DEFAULT_URL = "http://127.0.0.1:8600"
REPLY_TIMEOUT_S = 90.0
STREAM_TIMEOUT_S = 45.0  # without a line, of which the server sends one every 15 s
MAX_ATTEMPTS = 6
FIRST_PAUSE_S = 0.2


class Transport:
    """A connection pool for one server and key."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._base = f"{url.rstrip('/')}/api/v1"
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx2.AsyncClient(headers=headers, timeout=REPLY_TIMEOUT_S, follow_redirects=True)

    async def close(self) -> None:
        await self._http.aclose()

    async def json(self, method: str, path: str, **request: Any) -> Any:
        """The JSON of an answer. Raises ApiError and Unreachable."""
        return (await self.send(method, path, **request)).json()

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
        may_be_missing: bool = False,
        timeout_s: float | None = REPLY_TIMEOUT_S,
        **request: Any,
    ) -> httpx2.Response:
        """The answer to a request, with `body` opened for each attempt. Raises ApiError and Unreachable.

        `may_be_missing` returns a 404 instead of raising it.
        """
        failures = 0
        while True:
            try:
                content = body() if body else None
                answer = await self._http.request(
                    method, f"{self._base}{path}", content=content, timeout=timeout_s, **request
                )
                if answer.status_code != 404 or not may_be_missing:
                    await _raise_for_status(answer)
                return answer
            except httpx2.TransportError as error:
                failures += 1
                await back_off(failures, error)

    @contextlib.asynccontextmanager
    async def events(self, path: str, after: int) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of an event stream after event `after`. Raises ApiError and httpx2.TransportError."""
        timeout = httpx2.Timeout(REPLY_TIMEOUT_S, read=STREAM_TIMEOUT_S)
        headers = {"Last-Event-ID": str(after)} if after else {}
        async with self._http.stream("GET", f"{self._base}{path}", headers=headers, timeout=timeout) as answer:
            await _raise_for_status(answer)
            yield answer.aiter_lines()

    @contextlib.asynccontextmanager
    async def download(self, url: str, chunk_bytes: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of any URL, in chunks. Raises ApiError and httpx2.TransportError."""
        async with self._http.stream("GET", url) as answer:
            await _raise_for_status(answer)
            yield answer.aiter_bytes(chunk_bytes)


async def back_off(failures: int, error: Exception) -> None:
    """Waits before the next attempt. Raises Unreachable after the last one."""
    if failures >= MAX_ATTEMPTS:
        raise Unreachable(f"The server cannot be reached: {str(error).rstrip('.') or type(error).__name__}.") from error
    await asyncio.sleep(FIRST_PAUSE_S * 2**failures)


async def _raise_for_status(answer: httpx2.Response) -> None:
    if answer.status_code < 400:
        return
    await answer.aread()
    try:
        body = answer.json()
    except ValueError:
        body = {}
    raise ApiError(answer.status_code, body if isinstance(body, dict) else {})
