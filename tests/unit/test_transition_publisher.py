"""One channel: whoever has to know of a change hears of it in order, and is woken only where there is work."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from comfyward import metrics
from comfyward.delivery.telemetry import Telemetry
from comfyward.delivery.webhooks import WebhooksDue
from comfyward.dispatch.placement import Worker
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.waiting import WaitingWorkers
from comfyward.runs.change import (
    Change,
    RunAssigned,
    RunEnded,
    RunMoved,
    RunProduced,
    RunQueued,
    RunRequeued,
    RunStarted,
    RunWatched,
)
from comfyward.runs.run import EndReason, Run
from comfyward.store.notices import Wake
from tests.fakes.notices import Wire


def run(**known: Any) -> Run:
    blank = dict.fromkeys(field.name for field in dataclasses.fields(Run)) | {"environment_name": ""}
    return Run(**{**blank, "id": "run", "pool": "L4", "queued_at": 1000, "updated_at": 3000, **known})


def test_subscribers_are_called_in_order_and_never_for_a_rejected_transition() -> None:
    told: list[tuple[str, Sequence[Change]]] = []
    publisher = Publisher(lambda made: told.append(("first", made)), lambda made: told.append(("second", made)))
    queued, moved = RunQueued("L4", []), RunMoved("H100")

    publisher.publish(queued, None, moved)
    publisher.publish()
    publisher.publish(None)

    assert told == [("first", [queued, moved]), ("second", [queued, moved])]


def test_a_failing_subscriber_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Change] = []

    def fails(made: Sequence[Change]) -> None:
        raise ZeroDivisionError

    Publisher(fails, told.extend).publish(RunMoved("L4"))

    assert told == [RunMoved("L4")]
    assert actions(caplog) == ["subscriber_failed"]


@pytest.mark.parametrize(
    "change",
    [RunQueued("L4", []), RunRequeued(run(), []), RunMoved("L4")],
    ids=lambda change: type(change).__name__,
)
async def test_a_queued_run_wakes_local_workers_then_other_servers_and_the_fleet(
    change: Change,
) -> None:
    wire, fleet = Wire(), asyncio.Event()
    workers = WaitingWorkers(wire, fleet)
    workers.on_changes([change])
    assert (workers.hint.is_set(), wire.sent, fleet.is_set()) == (True, [Wake("leases")], True)

    asking = asyncio.create_task(workers.run_for(_worker("H100"), "H100", wait_s=30))
    await asyncio.sleep(0)
    fleet.clear()
    workers.on_changes([change])  # the worker that waits is of another pool
    assert (wire.sent, fleet.is_set()) == ([Wake("leases")] * 2, False)
    workers.dismiss()
    await asking

    wire.sent.clear()
    asking = asyncio.create_task(workers.run_for(_worker("L4"), "L4", wait_s=30))
    await asyncio.sleep(0)
    workers.on_changes([change])
    assert (wire.sent, fleet.is_set()) == ([], False)
    workers.matched(is_any_left=True)  # nobody here has taken it
    workers.matched(is_any_left=True)  # of which others know by now
    assert wire.sent == [Wake("leases")]
    workers.dismiss()
    assert await asking is None


async def test_a_transition_outside_the_queue_wakes_no_worker() -> None:
    wire, fleet = Wire(), asyncio.Event()
    workers = WaitingWorkers(wire, fleet)

    workers.on_changes([kind(run(), []) for kind in (RunAssigned, RunStarted, RunProduced, RunEnded)])

    assert (workers.hint.is_set(), wire.sent, fleet.is_set()) == (False, [], False)


@pytest.mark.parametrize("kind", [RunStarted, RunEnded])
async def test_a_run_that_starts_or_ends_has_a_webhook_due_when_it_was_asked_for(kind: type[Any]) -> None:
    wire = Wire()
    due = WebhooksDue(wire)
    due.on_changes([kind(run(), []), RunProduced(run(webhook="http://hook"), []), RunWatched([])])
    assert (due.hint.is_set(), wire.sent) == (False, [])

    due.on_changes([RunWatched([]), kind(run(webhook="http://hook"), [])])

    assert (due.hint.is_set(), wire.sent) == (True, [Wake("webhooks")])


def test_runs_are_counted_when_they_come_and_when_they_are_over() -> None:
    traced: list[Run] = []
    over = run(pool="counted", end_reason=EndReason.CANCELLED, finished_at=3000)

    Telemetry(traced.append).count(
        [RunQueued("counted", []), RunMoved("counted"), RunRequeued(run(pool="counted"), []), RunEnded(over, [])]
    )

    assert traced == [over]
    assert _counted("comfyward_runs_submitted_total", pool="counted") == 1
    assert _counted("comfyward_runs_ended_total", pool="counted", reason="cancelled") == 1
    assert _counted("comfyward_stage_seconds_sum", pool="counted", stage="queue") == 2


def _worker(pool: str) -> Worker:
    return Worker("w", pool, "default", True, frozenset())


def _counted(name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the product has logged; libraries may log what other tests have left."""
    return [record.__dict__["action"] for record in caplog.records if record.name.startswith("comfyward.")]
