"""Each part of a server subscribes to its own notices: those of other servers, and the news that some may be lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import msgspec
import pytest
from sqlalchemy import make_url

from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.runs.change import RunCancelling
from comfyward.store.notices import LogWanted, Notice, Wake, WorkerSignalled
from comfyward.store.postgres_notices import PostgresNotices
from tests.fakes.notices import Wire
from tests.unit.test_transition_publisher import actions, run


def test_a_subscriber_that_fails_keeps_no_other_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    wire, heard = Wire(), list[Notice]()

    def fails(notice: Notice) -> None:
        raise ZeroDivisionError

    wire.subscribe(fails, lambda: None)
    wire.subscribe(heard.append, lambda: None)
    wire.receive(Wake("imports"))

    assert heard == [Wake("imports")]
    assert actions(caplog) == ["notices_failed"]


def test_a_subscriber_that_fails_at_a_loss_keeps_no_other_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    wire, losses = Wire(), list[str]()

    def fails() -> None:
        raise ZeroDivisionError

    wire.subscribe(lambda notice: None, fails)
    wire.subscribe(lambda notice: None, lambda: losses.append("heard"))
    wire.lose()

    assert losses == ["heard"]
    assert actions(caplog) == ["notices_failed"]


@pytest.mark.parametrize(
    ("happens", "wakes"),
    [
        (lambda wire: wire.receive(Wake("imports")), True),
        (lambda wire: wire.receive(Wake("webhooks")), False),
        (lambda wire: wire.lose(), True),
    ],
    ids=["its own", "another loop's", "a loss"],
)
async def test_a_loop_is_woken_by_its_own_name_and_by_a_loss(happens: Callable[[Wire], None], wakes: bool) -> None:
    wire, hint = Wire(), asyncio.Event()
    wire.wake("imports", hint)

    happens(wire)

    assert hint.is_set() is wakes


@pytest.mark.parametrize(
    ("happens", "answered"),
    [
        (lambda signals, wire: signals.on_changes([RunCancelling(run(worker_id="w"), [])]), True),
        (lambda signals, wire: signals.on_changes([RunCancelling(run(worker_id="other"), [])]), False),
        (lambda signals, wire: wire.receive(WorkerSignalled("w")), True),
        (lambda signals, wire: wire.lose(), True),
    ],
    ids=["a cancel", "a cancel of another worker's run", "an order from another server", "a loss"],
)
async def test_a_held_heartbeat_is_answered(happens: Callable[[WorkerSignals, Wire], None], answered: bool) -> None:
    wire = Wire()
    signals = WorkerSignals(wire)
    signal = signals.expect("w")

    happens(signals, wire)

    assert signal.is_set() is answered


async def test_a_cancel_is_signalled_to_the_server_that_holds_the_heartbeat() -> None:
    wire = Wire()

    WorkerSignals(wire).on_changes([RunCancelling(run(worker_id="w"), [])])

    assert wire.sent == [WorkerSignalled("w")]


async def test_a_log_is_asked_of_the_worker_at_every_server_and_comes_from_any() -> None:
    wire, elsewhere = Wire(), Wire()
    signals = WorkerSignals(elsewhere)
    here, there = WorkerLogs(wire, WorkerSignals(wire)), WorkerLogs(elsewhere, signals)
    signal = signals.expect("w")

    asked = asyncio.create_task(here.get("w", timeout_s=30))
    await asyncio.sleep(0)
    for notice in wire.sent:
        elsewhere.receive(notice)
    assert (wire.sent, there.is_wanted("w"), signal.is_set()) == ([LogWanted("w")], True, True)

    there.uploaded("w", "the end of its log")
    for notice in elsewhere.sent:
        wire.receive(notice)

    assert await asked == "the end of its log"
    assert (here.is_wanted("w"), there.is_wanted("w")) == (False, False)


def test_a_notice_of_another_version_takes_no_other_along(caplog: pytest.LogCaptureFixture) -> None:
    """Notices of a moment come in one message."""
    batch = json.dumps([{"type": "of_tomorrow"}, *msgspec.to_builtins([Wake("imports")])])

    heard = PostgresNotices(make_url("postgresql://"))._whole(f"another 1 0 {batch}")

    assert heard == [Wake("imports")]
    assert actions(caplog) == ["notices"]
