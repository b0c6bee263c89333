"""ComfyUI's websocket: a client gets the messages of the runs that it submitted under its client id, and the length of
the queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from comfyward.api.auth import Auth
from comfyward.api.native.prompt_messages import Message, Picture, PromptMessages, Text
from comfyward.api.native.prompts import count_unfinished
from comfyward.api.native.requests import MAX_CLIENT_ID
from comfyward.api.native.scope import Scope, Scopes
from comfyward.api.native.system import features
from comfyward.delivery.hub import Hub, Listener
from comfyward.errors import ComfywardError
from comfyward.files.objects import Objects, blob_key
from comfyward.ids import new_uuid
from comfyward.runs.event import Event, Status
from comfyward.runs.output import Output
from comfyward.runs.run import State
from comfyward.store import run_parts, runs
from comfyward.store.db import Database

# A client of ComfyUI gives up on a socket that is silent for ten seconds; pings do not count.
MOST_FEATURES = 64 << 10  # characters of a message
SILENCE_S = 5.0
REFUSED = 4401
REPLACED = 4409
GOING_AWAY = 1001

_Key = tuple[str, str | None, str]


class Sockets:
    """The open sockets of this server. A client that connects again under its id replaces its former socket."""

    def __init__(
        self, db: Database, auth: Auth, scopes: Scopes, hub: Hub, objects: Objects, upload_limit_bytes: int
    ) -> None:
        self._auth, self._scopes, self._hub = auth, scopes, hub
        self._runs = _Runs(db, hub, objects)
        self._features = Text("feature_flags", features(upload_limit_bytes))
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
        client = Client(scope, client_id)
        if before := self._open.pop(client.key, None):
            await before.close(REPLACED)
            await before.ended.wait()
        with self._hub.followers.place(scope.account_id):
            await websocket.accept()
            connection = _Connection(websocket, self._auth, self._scopes, self._features)
            await self._serve(_Socket(connection, self._runs, client))

    async def _serve(self, socket: _Socket) -> None:
        key = socket.client.key
        self._open[key] = socket
        try:
            with self._hub.listen(socket.client.scope.account_id) as listener:
                await socket.serve(listener)
        finally:
            socket.ended.set()
            if self._open.get(key) is socket:
                del self._open[key]


@dataclass(frozen=True)
class Client:
    """A client of ComfyUI, by the id that it gave itself."""

    scope: Scope
    id: str

    @property
    def key(self) -> _Key:
        return self.scope.account_id, self.scope.workflow_id, self.id

    def has_submitted(self, run: runs.Owner) -> bool:
        return (
            run.account_id == self.scope.account_id
            and run.client_id == self.id
            and self.scope.workflow_id in (None, run.workflow_id)
        )


class _Connection:
    """A websocket, and the choice of its client between ComfyUI's two forms of pictures."""

    def __init__(self, websocket: WebSocket, auth: Auth, scopes: Scopes, own_features: Text) -> None:
        self._websocket, self._auth, self._scopes, self._own_features = websocket, auth, scopes, own_features
        self._with_metadata = False

    async def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            match message:
                case Text():
                    await self._websocket.send_text(message.encode())
                case Picture():
                    await self._websocket.send_bytes(message.encode(with_metadata=self._with_metadata))

    async def receive(self) -> None:
        """Reads until the client hangs up; the only message with a meaning is its features."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if (flags := _features_in(message.get("text") or message.get("bytes") or b"")) is not None:
                self._with_metadata = bool(flags.get("supports_preview_metadata"))
                await self.send([self._own_features])

    async def until_refused(self, account_id: str) -> None:
        """A socket lives no longer than its key. Raises why it is refused."""
        await self._auth.until_refused(account_id, lambda: self._scopes.of(self._websocket))

    async def close(self, code: int) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._websocket.close(code)


class _Runs:
    """The reads that messages about runs need."""

    def __init__(self, db: Database, hub: Hub, objects: Objects) -> None:
        self._db, self._hub, self._objects = db, hub, objects

    async def messages_of(self, run_id: str, client: Client) -> PromptMessages | None:
        """None for a run that another client submitted."""
        owner = await self._db.lookup(runs.owner_of, run_id)
        return PromptMessages(owner.prompt_id) if owner and client.has_submitted(owner) else None

    async def running(self, client: Client) -> list[tuple[str, PromptMessages]]:
        """(run id, its messages so far) of the client's running runs."""
        which = client.scope.runs(states=(State.RUNNING,), client_id=client.id)
        found = []
        for run_id, prompt_id in (await self._db.read(run_parts.prompt_ids, client.scope.account_id, which)).items():
            messages = PromptMessages(prompt_id, has_begun=True)
            for event in self._hub.newest(run_id):
                messages.translate(event)
            found.append((run_id, messages))
        return found

    async def ending(self, run_id: str, messages: PromptMessages) -> Sequence[Message]:
        """The messages up to the one that says how a run ended; none for a run that has been deleted."""
        run = await self._db.lookup(runs.get_any, run_id)
        return messages.end(run) if run else []

    async def streamed(self, messages: PromptMessages, output: Output) -> Picture:
        """An output that its node sent as a picture, as it sent it."""
        data = await self._objects.read_all(blob_key(output.digest))
        return messages.picture(output.node_id, output.content_type, data)

    async def status(self, scope: Scope, **more: Any) -> Text:
        remaining = await count_unfinished(self._db, scope)
        return Text("status", {"status": {"exec_info": {"queue_remaining": remaining}}, **more})


class _Socket:
    def __init__(self, connection: _Connection, runs_of: _Runs, client: Client) -> None:
        self._connection, self._runs, self.client = connection, runs_of, client
        self.ended = asyncio.Event()
        self._messages: dict[str, PromptMessages | None] = {}  # by run; None for another client's

    async def serve(self, listener: Listener) -> None:
        """Returns when either side hangs up, the client is refused, or the server stops."""
        await self._send([await self._status(sid=self.client.id)])
        await self._resume()
        refused = self._connection.until_refused(self.client.scope.account_id)
        doings = (self._connection.receive(), self._follow(listener), refused)
        tasks = {asyncio.create_task(doing) for doing in doings}
        _, unfinished = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in unfinished:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, ComfywardError):
                await self.close(REFUSED)
            elif isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect | RuntimeError):
                raise outcome
        await self.close(GOING_AWAY)

    async def close(self, code: int) -> None:
        await self._connection.close(code)

    async def _resume(self) -> None:
        """For a client that reconnects during its run."""
        for run_id, messages in await self._runs.running(self.client):
            self._messages[run_id] = messages
            await self._send(messages.resume())

    async def _follow(self, listener: Listener) -> None:
        """Sends the messages of events, and the length of the queue after silence and when it may have changed."""
        while True:
            try:
                events = await listener.all(SILENCE_S)
            except TimeoutError:
                await self._send([await self._status()])
                continue
            if not events:
                return
            has_status = [await self._pass_on(event) for event in events]
            if any(_changes_the_queue(event) and not sent for event, sent in zip(events, has_status, strict=True)):
                await self._send([await self._status()])

    async def _pass_on(self, event: Event) -> bool:
        """Sends the messages of an event; returns True if the length of the queue was among them."""
        if event.run_id not in self._messages:
            self._messages[event.run_id] = await self._runs.messages_of(event.run_id, self.client)
        messages = self._messages.pop(event.run_id) if event.is_last else self._messages[event.run_id]
        if messages is None:
            return False
        if isinstance(event.payload, Output) and event.payload.streamed:
            await self._send([await self._runs.streamed(messages, event.payload)])
            return False
        if not event.is_last:
            await self._send(messages.translate(event))
            return False
        if not (ending := await self._runs.ending(event.run_id, messages)):
            return False
        await self._send([*ending, await self._status(), messages.last()])
        return True

    async def _status(self, **more: Any) -> Text:
        return await self._runs.status(self.client.scope, **more)

    async def _send(self, messages: Sequence[Message]) -> None:
        await self._connection.send(messages)


def _changes_the_queue(event: Event) -> bool:
    return event.is_last or (isinstance(event.payload, Status) and event.payload.state is State.QUEUED)


def _features_in(received: str | bytes) -> dict[str, Any] | None:
    """The features that a client's message declares; None for any other message."""
    if len(received) > MOST_FEATURES:
        return None
    try:
        message = msgspec.json.decode(received)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("type") != "feature_flags":
        return None
    flags = message.get("data")
    return flags if isinstance(flags, dict) else {}
