"""ComfyUI's websocket: a client hears of the runs that it submitted under its client id, and of the queue's length."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from comfyward.api.context import Context
from comfyward.api.native.narration import Message, Narration, Picture, Text
from comfyward.api.native.scope import Scope, Scopes
from comfyward.delivery.hub import Listener
from comfyward.errors import ComfywardError
from comfyward.files.objects import blob_key
from comfyward.ids import new_uuid
from comfyward.runs.event import Event, EventType
from comfyward.runs.run import State
from comfyward.store import runs

# A client of ComfyUI gives up on a socket that said nothing for ten seconds; pings do not count.
SILENCE_S = 5.0
REFUSED = 4401
REPLACED = 4409
GOING_AWAY = 1001
MAX_CLIENT_ID = 200

_Key = tuple[str, str | None, str]


class Sockets:
    """The open sockets of this server. A client that comes again under its id replaces its former socket."""

    def __init__(self, context: Context, scopes: Scopes) -> None:
        self._context, self._scopes = context, scopes
        self._open: dict[_Key, _Socket] = {}

    def routes(self) -> list[WebSocketRoute]:
        return [WebSocketRoute("/ws", self.serve)]

    async def serve(self, websocket: WebSocket) -> None:
        try:
            scope = await self._scopes.of(websocket)
        except ComfywardError as error:
            await websocket.accept()
            await websocket.close(REFUSED, error.message[:120])
            return
        client_id = websocket.query_params.get("clientId", "")[:MAX_CLIENT_ID] or new_uuid().replace("-", "")
        key = (scope.account_id, scope.workflow_id, client_id)
        await websocket.accept()
        if before := self._open.pop(key, None):
            await before.close(REPLACED)
        socket = self._open[key] = _Socket(self._context, self._scopes, websocket, scope, client_id)
        try:
            await socket.serve()
        finally:
            if self._open.get(key) is socket:
                del self._open[key]


class _Socket:
    def __init__(self, context: Context, scopes: Scopes, websocket: WebSocket, scope: Scope, client_id: str) -> None:
        self._context, self._scopes, self._websocket = context, scopes, websocket
        self._scope, self._client_id = scope, client_id
        self._checked_at = time.monotonic()
        self._with_metadata = False
        self._stories: dict[str, Narration | None] = {}  # by run; None for another client's

    async def serve(self) -> None:
        """Until either side hangs up, or the server stops."""
        with self._context.hub.listen(self._scope.account_id) as listener:
            await self._send([await self._status(sid=self._client_id)])
            await self._resume()
            talking = {asyncio.create_task(self._listen()), asyncio.create_task(self._speak(listener))}
            _, left = await asyncio.wait(talking, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            for outcome in await asyncio.gather(*talking, return_exceptions=True):
                if isinstance(outcome, ComfywardError):
                    await self.close(REFUSED)
                elif isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect | RuntimeError):
                    raise outcome
        await self.close(GOING_AWAY)

    async def close(self, code: int) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._websocket.close(code)

    async def _listen(self) -> None:
        """A client says at most what it understands."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await self._hear(message.get("text") or message.get("bytes") or b"")

    async def _hear(self, said: str | bytes) -> None:
        try:
            message = msgspec.json.decode(said)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if not isinstance(message, dict) or message.get("type") != "feature_flags":
            return
        flags = message.get("data")
        self._with_metadata = isinstance(flags, dict) and bool(flags.get("supports_preview_metadata"))
        await self._send([Text("feature_flags", features(self._context.settings.upload_limit_bytes))])

    async def _speak(self, listener: Listener) -> None:
        while True:
            try:
                events = await listener.all(SILENCE_S)
            except TimeoutError:
                await self._check_scope()
                await self._send([await self._status()])
                continue
            await self._check_scope()
            if not events:
                return
            told = [await self._tell(event) for event in events]
            if any(_changes_the_queue(event) and not said for event, said in zip(events, told, strict=True)):
                await self._send([await self._status()])

    async def _check_scope(self) -> None:
        """A socket lives no longer than its key. Raises Unauthenticated."""
        if time.monotonic() - self._checked_at >= SILENCE_S:
            self._checked_at = time.monotonic()
            await self._scopes.of(self._websocket)

    async def _tell(self, event: Event) -> bool:
        """Tells of an event; True when it has said how long the queue is now."""
        story = await self._story(event.run_id)
        if event.is_last:
            del self._stories[event.run_id]
        if story is None:
            return False
        if event.type is EventType.OUTPUT and event.data.get("streamed"):
            await self._send([await self._streamed(story, event)])
            return False
        if not event.is_last:
            await self._send(story.tell(event))
            return False
        run = await self._context.db.lookup(runs.get_any, event.run_id)
        if run is None:
            return False
        await self._send([*story.end(run), await self._status(), story.last()])
        return True

    async def _streamed(self, story: Narration, event: Event) -> Picture:
        """A result that its node sent as a picture, as it sent it."""
        output = event.data
        data = await self._context.objects.read_all(blob_key(output["digest"]))
        return story.picture(output["node_id"], output["content_type"], data)

    async def _story(self, run_id: str) -> Narration | None:
        """The narration of a run that this client submitted, None for other runs."""
        if run_id not in self._stories:
            owner = await self._context.db.lookup(runs.owner_of, run_id)
            self._stories[run_id] = Narration(owner.prompt_id) if owner and self._is_own(owner) else None
        return self._stories[run_id]

    def _is_own(self, run: runs.Owner) -> bool:
        return (
            run.account_id == self._scope.account_id
            and run.client_id == self._client_id
            and self._scope.workflow_id in (None, run.workflow_id)
        )

    async def _resume(self) -> None:
        """Tells a client that comes back where its run is."""
        which = self._scope.runs(states=(State.RUNNING,), client_id=self._client_id)
        for run in await self._context.db.read(runs.find, self._scope.account_id, which):
            story = self._stories[run.id] = Narration(run.prompt_id, began=True)
            for event in self._context.hub.newest(run.id):
                story.tell(event)
            await self._send(story.resume())

    async def _status(self, **more: Any) -> Text:
        scope = self._scope
        remaining = await self._context.db.lookup(runs.count_unfinished, scope.account_id, scope.workflow_id)
        return Text("status", {"status": {"exec_info": {"queue_remaining": remaining}}, **more})

    async def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            match message:
                case Text():
                    await self._websocket.send_text(message.encode())
                case Picture():
                    await self._websocket.send_bytes(message.encode(with_metadata=self._with_metadata))


def _changes_the_queue(event: Event) -> bool:
    return event.is_last or (event.type is EventType.STATUS and event.data["state"] == State.QUEUED)


def features(upload_limit_bytes: int) -> dict[str, Any]:
    """What this side understands, as ComfyUI names it."""
    return {"supports_preview_metadata": True, "max_upload_size": upload_limit_bytes}
