"""A worker stages three runs ahead; those whose files are slow make room for others, up to a number."""

from __future__ import annotations

import asyncio

from comfyward.worker.ahead import MAX_AHEAD, MAX_ASIDE, Ahead, Patience, Place

AT_ONCE, NEVER = 0.0, 3600.0


async def staged(ahead: Ahead) -> Place:
    """The place of a run whose files are fetched from now on."""
    place = await ahead.take()
    place.fetching()
    return place


async def settled() -> None:
    """Returns when all that is due now has happened."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_next_run_is_staged_only_beside_slow_ones() -> None:
    ahead = Ahead(Patience(NEVER, NEVER))
    first = await staged(ahead)
    second = asyncio.create_task(ahead.take())
    await settled()
    assert not second.done()

    first.leave()

    (await second).leave()


async def test_three_are_staged_beside_each_other() -> None:
    ahead = Ahead(Patience(AT_ONCE, NEVER))
    places = [await staged(ahead) for _ in range(MAX_AHEAD)]
    another = asyncio.create_task(ahead.take())
    await settled()
    assert not another.done()

    places[1].leave()
    places[1].leave()

    await another
    one_more = asyncio.create_task(ahead.take())
    await settled()
    assert not one_more.done(), "a place is freed once"
    one_more.cancel()


async def test_slow_runs_step_aside_up_to_a_number() -> None:
    ahead = Ahead(Patience(AT_ONCE, AT_ONCE))
    places = [await staged(ahead) for _ in range(MAX_AHEAD + MAX_ASIDE)]
    another = asyncio.create_task(ahead.take())
    await settled()
    assert not another.done()
    assert all(place.is_fetching for place in places), "the server still counts them for their accounts"

    places[0].leave()  # one that stepped aside: the room that it had there is taken by a slow one

    await another


async def test_a_run_that_is_ready_in_time_keeps_its_place() -> None:
    ahead = Ahead(Patience(AT_ONCE, AT_ONCE))
    places = [await ahead.take()]
    places[0].fetching()
    places[0].ready()
    await settled()
    waiting = asyncio.create_task(ahead.take())
    await settled()
    assert not waiting.done(), "it has its turn until it executes"

    places[0].leave()

    await waiting
