"""A run that ends while a thread is about to make a folder for its files leaves none on the worker."""

from pathlib import Path
from typing import Any

import msgspec

from comfyward.worker.attempt import Attempt, Halt
from comfyward.worker.collect import Collect
from comfyward.worker.protocol import Assignment
from comfyward.worker.result_files import Bounds

UNUSED: Any = None
GRAPH = msgspec.Raw(b"{}")


async def test_a_folder_is_not_made_after_it_was_removed(tmp_path: Path) -> None:
    kept, leftovers = tmp_path / "kept", tmp_path / "leftovers"
    for folder in (kept, leftovers):
        folder.mkdir()
    collect = Collect(UNUSED, kept, leftovers, Bounds(1 << 20))
    attempt = Attempt(Assignment("run", "lease", 1, GRAPH, GRAPH, [], [], 60, False), UNUSED, UNUSED, Halt())

    gathering = collect.begin(attempt, tmp_path, UNUSED)
    gathering.drop()
    await collect.forget(attempt)
    gathering._make_room()  # by the thread that had begun with it

    assert list(kept.iterdir()) == []
