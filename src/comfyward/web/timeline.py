"""The timeline of a run: its stages with durations. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from comfyward.runs.run import Run
from comfyward.runs.stages import stages_of

SHOWN = {"queue": "queued", "stage": "files", "line": "waiting for GPU", "execute": "executing", "collect": "saving"}


@dataclass(frozen=True)
class Phase:
    """One stage of a run. `duration_ms` is None before it begins; `part` is its share of the time in percent."""

    name: str
    duration_ms: int | None
    is_now: bool
    part: int


def phases(run: Run, now: int) -> list[Phase]:
    """The stages of the last attempt, up to now for a run that has not finished.

    A run that did not wait for its GPU has no stage for that.
    """
    begun = {stage.name: max(0, stage.end - stage.begin) for stage in stages_of(run, now)}
    if run.run_time_ms is None:
        begun.pop("collect", None)  # unknown until the worker reports the end of execution
    current = None if run.state.is_final else list(begun)[-1]
    whole = sum(begun.values()) or 1
    return [
        Phase(shown, begun.get(name), name == current, round(begun.get(name, 0) * 100 / whole))
        for name, shown in SHOWN.items()
        if name in begun or name != "line"
    ]
