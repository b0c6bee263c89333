"""A run whose files are at its worker, which executes another: in the form in which the store reads it for recalls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfyward.runs.waiting_run import WaitingRun


@dataclass(frozen=True)
class BroughtFile:
    """A file of a run, by the name that `WaitingRun.files` has for it. `size` is in bytes; None if it is not known."""

    name: str
    is_model: bool
    size: int | None


@dataclass(frozen=True)
class StagedRun:
    """`run` is as it would be in the queue; it waits for the GPU of a worker on `host` since `staged_at` (ms)."""

    run: WaitingRun
    lease: str
    worker_id: str
    host: str
    staged_at: int
    files: Sequence[BroughtFile] = ()
