"""Event streams over HTTP. Each takes a place of its account, and ends with the key or session that asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from comfyward.api.auth import Auth
from comfyward.api.body import NO_HEADERS
from comfyward.api.endpoint import EVENT_STREAM
from comfyward.delivery.hub import Hub, Listener
from comfyward.errors import ComfywardError

Frames = Callable[[Listener], AsyncIterator[bytes]]


class Following:
    """Answers requests for event streams."""

    def __init__(self, auth: Auth, hub: Hub) -> None:
        self._auth, self._hub = auth, hub

    def answer(
        self, request: Request, account_id: str, key: str, frames: Frames, headers: Mapping[str, str] = NO_HEADERS
    ) -> Response:
        """Server-Sent Events of what the hub tells under `key`, which neither caches nor proxies hold back.

        Calling the answer raises TooManyFollowers before the first byte.
        """
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers}
        if request.method == "HEAD":
            return Response(media_type=EVENT_STREAM, headers=headers)
        return _Followed(self._listening(request, account_id, key), frames, headers)

    @contextmanager
    def _listening(self, request: Request, account_id: str, key: str) -> Iterator[Listener]:
        with self._hub.followers.place(account_id), self._hub.listen(key) as listener:
            ending = asyncio.create_task(self._end_when_refused(request, account_id, listener))
            try:
                yield listener
            finally:
                ending.cancel()

    async def _end_when_refused(self, request: Request, account_id: str, listener: Listener) -> None:
        try:
            await self._auth.until_refused(account_id, lambda: self._auth.caller(request))
        except ComfywardError:
            listener.end()


class _Followed(StreamingResponse):
    """Frames that are sent while their receiver listens and is there.

    One task waits for its end beside them: Starlette's group of tasks for that takes more memory than all the rest.
    """

    def __init__(self, listening: AbstractContextManager[Listener], frames: Frames, headers: Mapping[str, str]) -> None:
        super().__init__((), media_type=EVENT_STREAM, headers=headers)
        self._listening, self._frames = listening, frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._listening as listener:
            self.body_iterator = self._frames(listener)
            leaving = asyncio.create_task(_end_when_gone(receive, listener))
            try:
                await self.stream_response(send)
            finally:
                leaving.cancel()


async def _end_when_gone(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.end()
