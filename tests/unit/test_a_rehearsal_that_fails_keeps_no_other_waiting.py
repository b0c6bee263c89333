"""Rehearsals end one by one: what cannot be compared ends alone, and what found no worker in time is skipped."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from comfyward.dispatch.rehearsals import Rehearsals
from comfyward.errors import InvalidEnvironment, NotFound
from comfyward.runs.failure import Failure
from comfyward.runs.run import EndReason, State
from comfyward.store import rehearsals, runs
from comfyward.store.db import now_ms
from comfyward.store.rehearsals import BROKEN, RUNNING, SKIPPED, Due, Marked, Rehearsal


def running(workflow_id: str) -> Rehearsal:
    about = {"state": RUNNING, "message": "", "difference": None, "created_at": 1, "finished_at": None}
    return Rehearsal("e", 2, workflow_id, "ann", "before", workflow_id, **cast(Any, about))


class Rows:
    """A database in which each run that is read is an answer, or an error."""

    def __init__(self, **found: object) -> None:
        self.found, self.ended = found, list[tuple[str, str, str]]()

    async def read(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        if operation is rehearsals.running:
            return [running(workflow_id) for workflow_id in self.found]
        if operation is runs.get:
            found = self.found[arguments[1]]
            if isinstance(found, Exception):
                raise found
            return found
        return [], []  # nothing is due

    async def write(self, operation: Callable[..., Any], *arguments: Any) -> None:
        assert operation is rehearsals.finish
        self.ended.append((arguments[0].workflow_id, arguments[1], arguments[2]))


def ended(reason: EndReason, started_at: int | None) -> Any:
    about = {"state": State.FAILED, "failure": Failure("It ended."), "end_reason": reason}
    return SimpleNamespace(started_at=started_at, **about)


async def begun(monkeypatch: pytest.MonkeyPatch, minutes_ago: int) -> list[str]:
    """The states of a rehearsal whose trial was asked for so long ago, and whose pool has no such environment yet."""
    due = Due("e", "portraits", 2, now_ms() - minutes_ago * 60_000, Marked("w", "Mine", "ann", "Ann"))
    states = []

    class Waiting(Rows):
        async def read(self, operation: Callable[..., Any], *arguments: Any) -> Any:
            if operation is rehearsals.last_good:
                return "before"
            return await super().read(operation, *arguments) if operation is rehearsals.running else ([due], [due])

        async def write(self, operation: Callable[..., Any], *arguments: Any) -> None:
            assert operation is rehearsals.begin
            states.append(arguments[0].state)

    async def submit(*_: object) -> str:
        raise InvalidEnvironment("No worker of the pool has it.")

    monkeypatch.setattr(Rehearsals, "_submit", submit)
    nothing = cast(Any, None)
    await Rehearsals(cast(Any, Waiting()), nothing, nothing, nothing).advance()
    return states


async def test_one_waits_for_its_pool_as_long_as_a_build_and_a_trial_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await begun(monkeypatch, 91) == []
    assert await begun(monkeypatch, 121) == [SKIPPED]


async def advanced(**found: object) -> list[tuple[str, str, str]]:
    rows = Rows(**found)
    nothing = cast(Any, None)
    assert await Rehearsals(cast(Any, rows), nothing, nothing, nothing).advance() == 0
    return rows.ended


async def test_what_fails_unexpectedly_ends_alone() -> None:
    assert await advanced(odd=TypeError("such as of an old row"), gone=NotFound("There is none.")) == [
        ("odd", BROKEN, "An unexpected error on the server (TypeError)."),
        ("gone", SKIPPED, "Its run was deleted."),
    ]


@pytest.mark.parametrize(
    ("reason", "started_at", "state"),
    [
        (EndReason.TIMEOUT, None, SKIPPED),
        (EndReason.TIMEOUT, 1, BROKEN),
        (EndReason.VALIDATION, None, BROKEN),
        (EndReason.WORKER_LOST, 1, SKIPPED),
    ],
)
async def test_a_run_that_found_no_worker_in_time_says_nothing(
    reason: EndReason, started_at: int | None, state: str
) -> None:
    assert await advanced(it=ended(reason, started_at)) == [("it", state, "It ended.")]
