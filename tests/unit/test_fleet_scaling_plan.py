"""The pure plan of a fleet: from zero, up to its limits, and back after the idle timeout."""

import pytest

from comfyward.fleet.fleet import Limits, Phase, Plan, WorkerState, plan

LIMITS = {"L4": Limits(max=2, idle_timeout_s=60), "T4": Limits(max=1, idle_timeout_s=60)}


def state(
    worker_id: str, pool: str = "L4", busy: bool = False, idle_s: float = 0.0, phase: Phase = "running"
) -> WorkerState:
    return WorkerState(worker_id, pool, phase, busy, idle_s)


def test_no_workers_without_work() -> None:
    assert plan(LIMITS, [], {}) == Plan((), ())


def test_queued_runs_start_workers_of_their_pool_only() -> None:
    assert plan(LIMITS, [], {"L4": 1}).start == ("L4",)
    assert plan(LIMITS, [], {"L4": 9, "T4": 1}).start == ("L4", "L4", "T4")
    assert plan(LIMITS, [], {"unknown": 3}) == Plan((), ())


def test_a_busy_worker_does_not_count_for_the_queue() -> None:
    assert plan(LIMITS, [state("w0", busy=True)], {"L4": 1}).start == ("L4",)
    assert plan(LIMITS, [state("w0")], {"L4": 1}).start == ()
    assert plan(LIMITS, [state("w0", phase="pending")], {"L4": 1}).start == ()


def test_an_idle_worker_is_stopped_after_the_timeout() -> None:
    workers = [state("w0", idle_s=61), state("w1", idle_s=59)]

    assert plan(LIMITS, workers, {}).stop == ("w0",)
    assert plan({"L4": Limits(max=2, min=2, idle_timeout_s=60)}, workers, {}).stop == ()
    assert plan(LIMITS, workers, {"L4": 2}).stop == ()


def test_an_unschedulable_worker_is_stopped_when_the_work_is_gone() -> None:
    assert plan(LIMITS, [state("w0", phase="unschedulable")], {}).stop == ("w0",)
    assert plan(LIMITS, [state("w0", phase="unschedulable")], {"L4": 1}).stop == ()


def test_every_pool_keeps_its_minimum() -> None:
    limits = {pool: Limits(max=2, min=1) for pool in ("L4", "T4")}

    assert plan(limits, [], {}).start == ("L4", "T4")


def test_spare_workers_are_kept_while_there_is_work() -> None:
    limits = {"L4": Limits(max=4, prewarm=2, idle_timeout_s=60)}

    assert plan(limits, [], {"L4": 1}).start == ("L4",) * 3
    assert plan(limits, [state("w0", busy=True), state("w1", idle_s=99)], {}).start == ("L4",)
    assert plan(limits, [state("w0", idle_s=99)], {}) == Plan((), ("w0",))


def test_a_worker_of_a_removed_pool_finishes_its_run_and_stops() -> None:
    assert plan(LIMITS, [state("w0", "H100", busy=True)], {}) == Plan((), ())
    assert plan(LIMITS, [state("w0", "H100")], {}).stop == ("w0",)


def test_a_paused_worker_is_stopped_when_it_is_idle_and_does_not_count() -> None:
    workers = [state("w0"), state("w1", busy=True)]

    assert plan(LIMITS, workers, {"L4": 1}, paused={"w0", "w1"}) == Plan(("L4",), ("w0",))


@pytest.mark.parametrize(("work", "wanted"), [(0, 1), (1, 1), (3, 3), (9, 4)])
def test_limits(work: int, wanted: int) -> None:
    assert Limits(max=4, min=1).desired(work) == wanted
