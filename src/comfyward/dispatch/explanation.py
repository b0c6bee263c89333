"""The reason why a run waits, and how long that is expected to last. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfyward.runs.waiting_run import COUNTED_PLACES
from comfyward.wording import plural


@dataclass(frozen=True)
class QueueStatus:
    """The facts that decide when a queued run starts; times in ms.

    `recent_ms` are the durations of the pool's last runs. `is_served`: a fleet starts workers of the pool, or one has
    joined before. `is_ready`: one has the run's environment; `environment_problem` is why none can have it.
    """

    pool: str
    place: int
    workers: int
    busy: int
    is_served: bool
    limit: int | None
    recent_ms: Sequence[int]
    account_is_full: bool
    warm_workers: int
    has_models: bool
    waits_for_warm_ms: int
    pool_problem: str | None
    is_ready: bool = True
    environment_problem: str | None = None


@dataclass(frozen=True)
class Explanation:
    """The reason why a run waits, as a code and a sentence, and the expected time until it starts (None: unknown)."""

    waits_for: str
    reason: str
    expected_in_ms: int | None


def explain(status: QueueStatus) -> Explanation:
    """Explains why a queued run waits."""
    if status.account_is_full:
        return Explanation("account", "Your account or API key has reached its limit of concurrent runs.", None)
    if status.workers == 0:
        return _without_workers(status)
    if not status.is_ready:
        reason = f"No worker of pool {status.pool} has its environment ready yet."
        return Explanation("environment", status.environment_problem or reason, None)
    if status.place == 1 and status.has_models and status.warm_workers and status.waits_for_warm_ms > 0:
        reason = "A worker with its models loaded is expected to be free soon."
        return Explanation("warm_worker", reason, status.waits_for_warm_ms)
    if status.busy >= status.workers:
        return Explanation("queue", _busy(status), _expected_ms(status))
    return Explanation("hand_out", "It is about to be assigned to a worker.", 0)


def _without_workers(status: QueueStatus) -> Explanation:
    if status.pool_problem:
        return Explanation("pool", status.pool_problem, None)
    if status.limit == 0:
        return Explanation("pool", f"Pool {status.pool} is limited to 0 workers.", None)
    if not status.is_served:
        reason = f"No worker has ever joined pool {status.pool}, and no fleet is configured to start one."
        return Explanation("pool", reason, None)
    return Explanation("worker", f"A worker of pool {status.pool} has to start first.", None)


def _busy(status: QueueStatus) -> str:
    ahead = status.place - 1
    who = "It is next" if ahead == 0 else f"{_counted(ahead)} ahead of it"
    all_are = (
        "the only worker of pool {} is" if status.workers == 1 else f"all {status.workers} workers of pool {{}} are"
    )
    return f"{who}, and {all_are.format(status.pool)} busy."


def _counted(ahead: int) -> str:
    return f"{'At least ' if ahead >= COUNTED_PLACES else ''}{plural(ahead, 'run is', 'runs are')}"


def _expected_ms(status: QueueStatus) -> int | None:
    """The median duration of the pool's recent runs, times the run's place divided by the number of workers.

    None if one of them is not known.
    """
    if not status.recent_ms or not status.workers or status.place > COUNTED_PLACES:
        return None
    usual = sorted(status.recent_ms)[len(status.recent_ms) // 2]
    return round(usual * status.place / status.workers)
