"""The pure plan of a fleet: from zero, up to its slots, and back after the idle timeout."""

from comfyward.fleet.fleet import Limits, Plan, Slot, WorkerState, plan

SLOTS = [Slot("w0", "L4"), Slot("w1", "L4"), Slot("t0", "T4")]
FROM_ZERO = Limits(min_workers=0, idle_timeout_s=60)


def state(worker_id: str, pool: str = "L4", busy: bool = False, idle_s: float = 0.0) -> WorkerState:
    return WorkerState(worker_id, pool, running=True, busy=busy, idle_s=idle_s)


def test_without_work_nothing_runs() -> None:
    assert plan(SLOTS, [], {}, FROM_ZERO) == Plan((), ())


def test_queued_runs_start_workers_of_their_pool_only() -> None:
    assert plan(SLOTS, [], {"L4": 1}, FROM_ZERO).start == ("w0",)
    assert plan(SLOTS, [], {"L4": 9, "T4": 1}, FROM_ZERO).start == ("w0", "w1", "t0")


def test_a_busy_worker_does_not_count_for_the_queue() -> None:
    assert plan(SLOTS, [state("w0", busy=True)], {"L4": 1}, FROM_ZERO).start == ("w1",)
    assert plan(SLOTS, [state("w0")], {"L4": 1}, FROM_ZERO).start == ()


def test_an_idle_worker_is_stopped_after_the_timeout() -> None:
    workers = [state("w0", idle_s=61), state("w1", idle_s=59)]

    assert plan(SLOTS, workers, {}, FROM_ZERO).stop == ("w0",)
    assert plan(SLOTS, workers, {}, Limits(min_workers=2, idle_timeout_s=60)).stop == ()
    assert plan(SLOTS, workers, {"L4": 2}, FROM_ZERO).stop == ()


def test_the_minimum_is_kept_up_in_every_pool() -> None:
    assert plan(SLOTS, [], {}, Limits(min_workers=1, idle_timeout_s=60)).start == ("w0", "t0")
