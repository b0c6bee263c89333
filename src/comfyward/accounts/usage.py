"""What GPU time costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


def credits_for(gpu_ms: int, accelerator: str, prices: Mapping[str, float]) -> float:
    """Credits for GPU time in the execute stage; an accelerator without a price is free."""
    return gpu_ms / 1000 * prices.get(accelerator, 0.0)


@dataclass(frozen=True)
class UsageRow:
    """GPU time and credits of one group (a day, an accelerator, a workflow, a key)."""

    group: str
    runs: int
    gpu_ms: int
    credits: float


def is_spent(used: float, limit: float | None) -> bool:
    """Whether an account has used up its credit; no limit is never used up."""
    return limit is not None and used >= limit
