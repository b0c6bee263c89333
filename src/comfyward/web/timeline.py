"""A run's way as phases with durations. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from comfyward.runs.run import Run
from comfyward.runs.stages import stages_of

SHOWN = {"queue": "queued", "stage": "files", "line": "next in line", "execute": "executing", "collect": "saving"}


@dataclass(frozen=True)
class Phase:
    """One stretch of a run. `duration_ms` is None for what has not begun; `part` is its share in percent."""

    name: str
    duration_ms: int | None
    is_now: bool
    part: int


def phases(run: Run, now: int) -> list[Phase]:
    """queued, files, next in line, executing, saving: of the last attempt, up to now for a run that is on its way.

    A run that found the GPU free was not in line.
    """
    begun = {stage.name: max(0, stage.end - stage.begin) for stage in stages_of(run, now)}
    if run.run_time_ms is None:
        begun.pop("collect", None)  # nobody knows yet when it begins, or whether it ever did
    current = None if run.state.is_final else list(begun)[-1]
    whole = sum(begun.values()) or 1
    return [
        Phase(shown, begun.get(name), name == current, round(begun.get(name, 0) * 100 / whole))
        for name, shown in SHOWN.items()
        if name in begun or name != "line"
    ]
