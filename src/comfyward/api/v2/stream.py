"""The events of a job of Comfy API v2, as Server-Sent Events: its present state, then what happens, to its end.

Nothing is replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sqlalchemy import Connection

from comfyward.api.v2.shapes import Shapes, classes_of, progress_shape, status_of, status_of_state
from comfyward.delivery.hub import Hub, Listener
from comfyward.delivery.stream import frame
from comfyward.runs.event import Cancelling, Event, Preview, Progress, Status, picture_of
from comfyward.runs.output import Output
from comfyward.runs.run import Run, State
from comfyward.store import runs
from comfyward.store.db import Database

KEEPALIVE_S = 10.0
POSITION_S = 1.0
KEEPALIVE = b": keepalive\n\n"


class JobStream:
    """The stream of one job for one client."""

    def __init__(self, db: Database, hub: Hub, shapes: Shapes, run: Run) -> None:
        self._db, self._hub, self._shapes = db, hub, shapes
        # Not the run itself, with all its results: a client follows it for hours, and an account many of them.
        self._account_id, self._run_id, self._prompt_id = run.account_id, run.id, run.prompt_id
        self._classes = classes_of(run)
        self._position: int | None = None
        self._progress = 0.0
        self._first_seq = 0  # the number of the last stored event that the first frames include

    async def frames(self, listener: Listener) -> AsyncIterator[bytes]:
        """`listener` listens to the run."""
        first, is_over = await self._present()
        yield first
        if not is_over:
            async for piece in self._live(listener):
                yield piece

    async def _present(self) -> tuple[bytes, bool]:
        """(frames of the job's present state, whether it is final)."""
        run, self._position = await self._db.lookup(_with_position, self._account_id, self._run_id)
        self._first_seq = run.event_seq
        self._hub.start_after(run.id, run.event_seq)
        frames = [frame("output", self._shapes.output(run.prompt_id, output)) for output in run.outputs]
        frames.append(self._status(status_of(run)))
        if not run.state.is_final:
            frames += [each for event in self._hub.newest(run.id) for each in self._frames_of(event)]
        return b"".join(frames), run.state.is_final

    async def _live(self, listener: Listener) -> AsyncIterator[bytes]:
        """Events that came together are sent together: each piece costs the same, however long it is."""
        clock, is_over = asyncio.get_running_loop().time, False
        last_sent = clock()
        while not is_over:
            try:
                events = await listener.all(KEEPALIVE_S if self._position is None else POSITION_S)
                frames = [each for event in events for each in self._frames_of(event)]
                is_over = not events or any(event.is_last for event in events)
            except TimeoutError:
                frames = await self._new_position()
                if not frames and clock() - last_sent >= KEEPALIVE_S:
                    frames = [KEEPALIVE]
            if frames:
                last_sent = clock()
                yield b"".join(frames)

    async def _new_position(self) -> list[bytes]:
        """A frame with the job's place in the queue, if that has changed."""
        if self._position is None:
            return []
        run, position = await self._db.lookup(_with_position, self._account_id, self._run_id)
        if position is None or position == self._position:
            return []
        self._position = position
        return [self._status(status_of(run))]

    def _frames_of(self, event: Event) -> list[bytes]:
        """The frames of an event; none for one that the first frames include."""
        if event.seq is not None and event.seq <= self._first_seq:
            return []
        match event.payload:
            case Status(state=state):
                self._position = None if state is not State.QUEUED else self._position or 1
                return [self._status(status_of_state(state))]
            case Cancelling():
                return [frame("status", {"status": "canceling", "queue_position": None})]
            case Output() as output:
                return [frame("output", self._shapes.output(self._prompt_id, output))]
            case Progress() as step:
                progress = progress_shape(step, self._classes)
                self._progress = progress["value"] = max(self._progress, progress["value"])
                return [frame("progress", progress)]
            case Preview(node, image):
                content_type, encoded = picture_of(image)
                preview = {"node_id": node or "", "content_type": content_type, "data_base64": encoded}
                return [frame("preview", preview)]
            case _:
                return []

    def _status(self, status: str) -> bytes:
        return frame("status", {"status": status, "queue_position": self._position})


def _with_position(conn: Connection, account_id: str, run_id: str) -> tuple[Run, int | None]:
    """A run, and its place in the queue while it has one."""
    run = runs.get(conn, account_id, run_id)
    return run, runs.queue_position(conn, run) if run.state is State.QUEUED else None
