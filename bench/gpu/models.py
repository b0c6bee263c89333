"""A synthetic checkpoint: read from a cold disk and a warm one, read ahead, resident, and in turn with another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bench.gpu import graphs
from bench.gpu.lab import Lab
from bench.gpu.report import Outcome
from bench.gpu.server import Account, Failed, facts_of

SWAPS, SWAPS_WITHOUT_GPU = 4, 1
SIZE, SIZE_WITHOUT_GPU = 512, 64
PREVIEW_STEPS = 12
BUSY_S = 4.0  # of the run before, during which the next one's checkpoint can be read ahead


def checkpoint(lab: Lab) -> Outcome:
    """Milliseconds of runs of two steps; `cold` and `warm` are in processes, of two accounts, that had no model yet."""
    first, second = lab.checkpoints()
    swaps_wanted = SWAPS if lab.has_gpu else SWAPS_WITHOUT_GPU
    cold = lab.account("next")
    cold.facts(graphs.of("GpuCheckDevice"))
    _drop(first)
    cold_ms = _ms(lab, cold, first, 1)
    warm = lab.account("warm")
    warm.facts(graphs.of("GpuCheckDevice"))
    warm_ms = _ms(lab, warm, first, 1)
    resident_ms = _ms(lab, warm, first, 2)
    _drop(second)
    other_ms = _ms(lab, warm, second, 1)
    swaps = [_ms(lab, warm, (first, second)[number % 2], 10 + number) for number in range(swaps_wanted)]
    figures = {
        "file_bytes": first.stat().st_size,
        "cold_disk_ms": cold_ms,
        "warm_disk_ms": warm_ms,
        "resident_ms": resident_ms,
        "another_from_cold_disk_ms": other_ms,
        "swaps_ms": swaps,
    }
    return _outcome(lab, figures)


def read_ahead(lab: Lab) -> Outcome:
    """A checkpoint of the next run is read while the present one executes: the next one's time beside a cold one's."""
    _, second = lab.checkpoints()
    account = lab.account("ahead")
    account.facts(graphs.of("GpuCheckDevice"))
    _drop(second)
    cold_ms = _ms(lab, account, second, 1)
    account = lab.account("ahead-too")
    account.facts(graphs.of("GpuCheckDevice"))
    _drop(second)
    busy = account.submit(graphs.of("GpuCheckSleep", seconds=BUSY_S if lab.has_gpu else 1.0))
    ahead = account.submit(graphs.text_to_image(second.name, 2, size=_size(lab)))
    account.ended(busy)
    ahead_ms = facts_of(account.ended(ahead))["run_ms"]
    figures = {"cold_ms": cold_ms, "ahead_ms": ahead_ms, "ratio": round(ahead_ms / max(1, cold_ms), 2)}
    return _outcome(lab, figures)


def previews(lab: Lab) -> Outcome:
    """Pictures that the sampler shows while it works."""
    account, (first, _) = lab.account("warm"), lab.checkpoints()
    run_id = account.submit(graphs.text_to_image(first.name, 99, PREVIEW_STEPS, _size(lab)))
    kinds: dict[str, int] = {}
    for kind, _ in account.events(run_id):
        kinds[kind] = kinds.get(kind, 0) + 1
    facts_of(account.get(run_id))
    if not kinds.get("preview"):
        raise Failed(f"no preview among the run's events: {kinds}")
    return Outcome({"steps": PREVIEW_STEPS, "previews": kinds["preview"]})


def _ms(lab: Lab, account: Account, checkpoint: Path, seed: int) -> int:
    return int(facts_of(account.run(graphs.text_to_image(checkpoint.name, seed, size=_size(lab))))["run_ms"])


def _size(lab: Lab) -> int:
    """Of a picture, in pixels."""
    return SIZE if lab.has_gpu else SIZE_WITHOUT_GPU


def _drop(file: Path) -> None:
    """Drops a file from the page cache, as after a start of the machine."""
    opened = os.open(file, os.O_RDONLY)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(opened)


def _outcome(lab: Lab, figures: dict[str, Any]) -> Outcome:
    return Outcome(figures, () if lab.has_gpu else ("a checkpoint of 6 GB, and its way to a GPU: no GPU",))
