"""The website's memory of what was asked: the same intent with the same contents gets the first answer."""

from __future__ import annotations

import asyncio

import pytest
from starlette.datastructures import FormData
from starlette.responses import Response

from comfyward.web.intents import MAX_REMEMBERED, Intents, intent_of


async def test_concurrent_requests_share_one_answer() -> None:
    intents, acts, may_go = Intents(), list[int](), asyncio.Event()

    async def act() -> Response:
        acts.append(1)
        await may_go.wait()
        return Response("made")

    both = [asyncio.create_task(intents.once("a", act)) for _ in range(2)]
    await asyncio.sleep(0)
    both[0].cancel()  # whoever asked first has hung up
    may_go.set()

    assert (await both[1]).body == b"made"
    assert (await intents.once("a", act)).body == b"made"
    assert len(acts) == 1


@pytest.mark.parametrize("how", ["raises", "refuses"])
async def test_a_failed_request_can_be_retried(how: str) -> None:
    intents, acts = Intents(), list[int]()

    async def act() -> Response:
        acts.append(1)
        if len(acts) > 1:
            return Response("made")
        if how == "raises":
            raise ValueError
        return Response("no", 409)

    if how == "raises":
        with pytest.raises(ValueError):  # noqa: PT011
            await intents.once("a", act)
    else:
        assert (await intents.once("a", act)).status_code == 409
    assert (await intents.once("a", act)).body == b"made"


async def test_the_memory_is_bounded() -> None:
    intents, acts = Intents(), list[int]()

    async def act() -> Response:
        acts.append(1)
        return Response()

    for number in range(MAX_REMEMBERED + 1):
        await intents.once(str(number), act)
    await intents.once("0", act)
    await intents.once(str(MAX_REMEMBERED), act)

    assert len(acts) == MAX_REMEMBERED + 2


def test_an_intent_is_scoped_to_account_address_and_content() -> None:
    form = FormData([("intent", "x"), ("text", "a"), ("text", "b")])
    name = intent_of(form, "me", "/run")

    assert name == intent_of(FormData([("text", "a"), ("text", "b"), ("intent", "x")]), "me", "/run")
    assert name not in {
        intent_of(form, "you", "/run"),
        intent_of(form, "me", "/other"),
        intent_of(FormData([("intent", "y"), ("text", "a"), ("text", "b")]), "me", "/run"),
        intent_of(FormData([("intent", "x"), ("text", "b"), ("text", "a")]), "me", "/run"),
        intent_of(FormData([("intent", "x"), ("text", "a")]), "me", "/run"),
    }
    assert intent_of(FormData([("text", "a")]), "me", "/run") is None
    assert intent_of(FormData([("intent", "x" * 101)]), "me", "/run") is None
