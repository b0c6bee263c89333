"""ComfyUI sends messages without end: while a run reads them a few wait, while none does they are discarded."""

from __future__ import annotations

import asyncio

from comfyward.comfy import inbox
from comfyward.comfy.inbox import Inbox
from comfyward.comfy.messages import Finished


async def test_messages_between_runs_are_discarded() -> None:
    messages = Inbox()
    for _ in range(100_000):
        await messages.put(Finished("earlier"), inbox.MAX_BYTES)

    with messages.read():
        await messages.put(Finished("mine"), 10)
        assert await messages.get() == Finished("mine")


async def test_a_sender_waits_until_there_is_room() -> None:
    messages = Inbox()
    with messages.read():
        await messages.put(Finished("first"), inbox.MAX_BYTES)
        sending = asyncio.create_task(messages.put(Finished("second"), 1))
        await asyncio.sleep(0)
        assert not sending.done()

        assert await messages.get() == Finished("first")
        await sending
        assert await messages.get() == Finished("second")


async def test_a_sender_that_waits_goes_on_when_the_run_is_over() -> None:
    messages = Inbox()
    with messages.read():
        await messages.put(Finished("first"), inbox.MAX_BYTES)
        sending = asyncio.create_task(messages.put(Finished("second"), 1))
        await asyncio.sleep(0)

    await asyncio.wait_for(sending, 120)
    with messages.read():
        messages.break_off()
        assert await messages.get() is None


async def test_the_end_comes_after_the_last_message() -> None:
    messages = Inbox()
    with messages.read():
        await messages.put(Finished("last"), 1)
        messages.break_off()
        assert await messages.get() == Finished("last")
        assert await messages.get() is None
        assert await messages.get() is None
