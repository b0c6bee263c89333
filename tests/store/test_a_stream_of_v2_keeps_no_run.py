"""A client of Comfy API v2 that follows a job for hours keeps none of its results in the server's memory."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

from comfyward.api.v2.stream import JobStream
from comfyward.delivery.hub import Hub
from comfyward.runs.event import Event, Status
from comfyward.runs.run import PublicStatus, Run, State
from comfyward.store import runs
from comfyward.store.notices import NoOthers
from tests.looks import looks
from tests.stack.stack import END_TIMEOUT_S
from tests.store.conftest import Store


def test_after_the_first_frames(store: Store) -> None:
    store.new_run("followed")

    assert asyncio.run(_runs_while_followed(store)) == 0


async def _runs_while_followed(store: Store) -> int:
    """How many are left in memory."""
    hub, shapes = Hub(NoOthers()), SimpleNamespace()
    stream = JobStream(store.db, hub, _any(shapes), await store.db.read(runs.get, store.alice.id, "followed"))
    with hub.listen("followed") as listener:
        frames = stream.frames(listener)
        first = await anext(frames)
        hub.publish([Event("followed", store.alice.id, Status(PublicStatus.INIT, State.ASSIGNED, None), 2)])
        second = await anext(frames)
        for _ in looks(END_TIMEOUT_S):  # the loop, or the thread that read, may be about to let go of its answer
            await asyncio.sleep(0)
            gc.collect()
            # Counted: a list of what one look finds would keep it for the next. By `type`: a proxy of something that is
            # gone refuses to be asked for its class.
            left = sum(type(each) is Run and each.id == "followed" for each in gc.get_objects())
            if not left:
                break
        await frames.aclose()
    assert (b"queued" in first, b"status" in second) == (True, True)
    return left


def _any(value: object) -> Any:
    return value
