"""The events of a run as Server-Sent Events, with replay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from comfyward.delivery.hub import Hub, Listener
from comfyward.runs.event import STORED, Payload
from comfyward.runs.run import Run
from comfyward.store import events, runs
from comfyward.store.db import Database

PING_S = 15.0
PING = b": ping\n\n"
LINE_ENDS = "\x85\u2028\u2029"  # line ends for programs that split text as Unicode does


async def stream_events(
    db: Database, hub: Hub, listener: Listener, account_id: str, run_id: str, after: int
) -> AsyncIterator[bytes]:
    """Frames from the stored event after number `after` on, until the run is over. Raises NotFound before the first.

    Stored events carry an id, so a client that reconnects with Last-Event-ID gets each of them exactly once.
    `listener` listens to the run.
    """
    replay = await db.read(events.after, account_id, run_id, after)
    for event in replay:
        yield frame(event.type, event.payload, event.seq)
        after = event.seq or after
    if any(event.is_last for event in replay):
        return
    hub.start_after(run_id, after)
    for event in hub.newest(run_id):
        yield frame(event.type, event.payload, event.seq)
    async for chunk in _live(listener, after):
        yield chunk


async def wait_until_over(db: Database, hub: Hub, account_id: str, run_id: str, wait_s: float) -> Run:
    """The run once it is over, or as it is after `wait_s` seconds. Raises NotFound, TooManyFollowers."""
    if wait_s > 0:
        with hub.followers.place(account_id), hub.listen(run_id) as listener:
            run = await db.lookup(runs.get, account_id, run_id)
            if run.state.is_final:
                return run
            hub.start_after(run_id, run.event_seq)
            await _wait_for_last(listener, wait_s)
    return await db.lookup(runs.get, account_id, run_id)


async def _wait_for_last(listener: Listener, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            while (event := await listener.next(wait_s)) is not None and not event.is_last:
                continue
    except TimeoutError:
        return


async def _live(listener: Listener, after: int) -> AsyncIterator[bytes]:
    while True:
        try:
            event = await listener.next(PING_S)
        except TimeoutError:
            yield PING
            continue
        if event is None:
            return
        if event.type in STORED and (event.seq or 0) <= after:
            continue
        yield frame(event.type, event.payload, event.seq)
        if event.is_last:
            return


def frame(name: str, data: Mapping[str, Any] | Payload, seq: int | None = None) -> bytes:
    """One event in the format of the HTML standard."""
    number = b"" if seq is None else b"id: %d\n" % seq
    text = msgspec.json.encode(data)
    for end in LINE_ENDS:
        text = text.replace(end.encode(), f"\\u{ord(end):04x}".encode())
    return number + b"event: " + name.encode() + b"\ndata: " + text + b"\n\n"
