"""Usage of GPU time and its price in credits."""

from __future__ import annotations

from dataclasses import dataclass


def credits_for(gpu_ms: int, credits_per_s: float) -> float:
    """The price of GPU time in the execute stage, at the rate that the run's attempt began with."""
    return gpu_ms / 1000 * credits_per_s


@dataclass(frozen=True)
class UsageRow:
    """GPU time and credits of one group (a day, an accelerator, a workflow, a key)."""

    group: str
    runs: int
    gpu_ms: int
    credits: float


def is_spent(used: float, limit: float | None) -> bool:
    """True if an account has used up its credit limit; never without a limit."""
    return limit is not None and used >= limit
