"""A worker asks for a learning each time that the server lists its environment.

Between two learnings of one environment it may see no list without it. What was refused is asked for again only once it
was not listed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from comfyward.errors import Forbidden
from comfyward.worker.environment_orders import EnvironmentOrders


class Link:
    """The server, as far as a worker asks it for learnings: it has none to give, and refuses those of `refused`."""

    def __init__(self, *refused: str) -> None:
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self._refused = refused

    async def learning_of(self, environment: str) -> None:
        self.asked.put_nowait(environment)
        if environment in self._refused:
            raise Forbidden("A worker with a token for one pool learns nothing for all of them.")


async def test_what_was_not_refused_is_asked_for_again() -> None:
    assert await asked_for(Link(), ["a"], ["a", "b"], ["a"]) == [["a"], ["a", "b"], ["a"]]


async def test_what_was_refused_is_asked_for_once_as_long_as_it_is_listed() -> None:
    assert await asked_for(Link("a"), ["a"], ["a", "b"], [], ["a"]) == [["a"], ["b"], [], ["a"]]


async def asked_for(link: Link, *lists: list[str]) -> list[list[str]]:
    """What a worker asks for after each of the server's lists, one after the other."""
    orders = EnvironmentOrders(_any(), _any(), _any(), _any(link), _any(), _any())
    working = asyncio.create_task(orders.run())
    asked: list[list[str]] = []
    for number, listed in enumerate(lists):
        last = f"the last of list {number}"
        orders.wanted([], [*listed, last])
        asked.append([])
        while (each := await link.asked.get()) != last:
            asked[-1].append(each)
    working.cancel()
    return asked


def _any(value: object = None) -> Any:
    return value
