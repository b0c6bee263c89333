"""Values are counted before they are decoded, and an account's heavy requests take one place beside the event loop."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from comfyward.api.leniency import Request
from comfyward.dispatch.heavy_requests import HEAVY_BYTES, HeavyRequests
from comfyward.python_json import MOST_VALUES, TooManyValues, read_request

MANY = b"[" + b"[]," * MOST_VALUES + b"[]]"


class Wish(Request):
    numbers: list[int] | None = None


@pytest.mark.parametrize(
    "body",
    [MANY, MANY.replace(b"[]", b"{}"), b"[" + b"1," * (MOST_VALUES + 1) + b"1]", b"[" * (MOST_VALUES + 1), MANY[:-1]],
)
def test_a_body_of_too_many_values_is_refused_before_it_is_decoded(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> object:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(msgspec.json, "decode", never)
    with pytest.raises(TooManyValues, match="more than 500000 values"):
        read_request(body)
    with pytest.raises(TooManyValues):
        read_request(body.decode())


def test_a_text_that_is_read_as_a_list_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Escapes hide its brackets from the count of the whole body."""

    def never(*_: object, **__: object) -> object:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(msgspec.json, "decode", never)
    with pytest.raises(ValueError, match="valid list"):
        Wish.model_validate({"numbers": MANY.decode()})


def test_large_bodies_of_few_values_are_read() -> None:
    body = msgspec.json.encode({"image": "a" * (8 << 20), "numbers": list(range(MOST_VALUES - 10))})
    assert len(read_request(body)["numbers"]) == MOST_VALUES - 10


def test_the_loop_answers_others_and_an_account_has_one_place() -> None:
    begun: list[str] = []

    async def scenario() -> None:
        heavy, may_end = HeavyRequests(), threading.Event()

        def act(name: str) -> str:
            assert threading.current_thread() is not threading.main_thread(), "it is done on the event loop"
            begun.append(name)
            assert may_end.wait(120)
            return name

        first = asyncio.create_task(heavy.run("ada", HEAVY_BYTES + 1, lambda: act("ada 1")))
        second = asyncio.create_task(heavy.run("ada", HEAVY_BYTES + 1, lambda: act("ada 2")))
        others = asyncio.create_task(heavy.run("bob", HEAVY_BYTES + 1, lambda: act("bob")))
        while len(begun) < 2:
            assert not any(each.done() for each in (first, second, others))
            await asyncio.sleep(0)

        assert await heavy.run("ada", HEAVY_BYTES, lambda: "small") == "small"  # the loop is free
        assert sorted(begun) == ["ada 1", "bob"]
        may_end.set()
        assert await asyncio.gather(first, second, others) == ["ada 1", "ada 2", "bob"]
        assert begun[2:] == ["ada 2"]
        assert await heavy.run("ada", HEAVY_BYTES + 1, lambda: "again") == "again"

    asyncio.run(scenario())
