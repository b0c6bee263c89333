"""A server without others takes up what its former start left, also if the clock went back in between."""

from __future__ import annotations

from typing import Any, cast

from comfyward.dispatch.lockings import Lockings
from comfyward.store import lockings
from comfyward.store.db import now_ms
from comfyward.store.notices import NoOthers


class Rows:
    """A database of one server, in which nothing waits."""

    is_shared, notices = False, NoOthers()

    def __init__(self) -> None:
        self.claims = list[tuple[Any, ...]]()

    async def write(self, operation: object, *arguments: Any) -> list[Any]:
        assert operation is lockings.claim
        self.claims.append(arguments)
        return []


async def test_rows_of_the_future_are_left_ones_too() -> None:
    rows, nothing = Rows(), cast(Any, None)
    await Lockings(cast(Any, rows), nothing, nothing, nothing, 3600.0).tick()

    [(*_, now, left_before)] = rows.claims
    assert now <= now_ms()
    assert left_before > now_ms() + 100 * 365 * 24 * 3600 * 1000
