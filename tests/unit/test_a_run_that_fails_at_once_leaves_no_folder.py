"""A run that ends before the threads for its files have begun leaves no folder on the worker."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec

from comfyward.worker.collect import Collect
from comfyward.worker.file_threads import THREADS
from comfyward.worker.job import Halt, Job
from comfyward.worker.protocol import Assignment
from comfyward.worker.result_files import Bounds

UNUSED: Any = None


async def test_a_folder_is_not_made_after_it_was_removed(tmp_path: Path) -> None:
    kept, leftovers, release = tmp_path / "kept", tmp_path / "leftovers", threading.Event()
    leftovers.mkdir()
    collect = Collect(UNUSED, kept, leftovers, Bounds(1 << 20))
    threads = collect._tools.threads
    busy = [asyncio.create_task(threads.call(release.wait)) for _ in range(THREADS)]
    await asyncio.sleep(0)  # all threads have something to do
    job = Job(
        Assignment("run", "lease", 1, msgspec.Raw(b"{}"), msgspec.Raw(b"{}"), [], [], 60, False), UNUSED, UNUSED, Halt()
    )

    gathering = collect.begin(job, tmp_path, UNUSED)
    await asyncio.sleep(0)  # it waits for a thread
    gathering.drop()
    await collect.forget(job)
    release.set()
    await asyncio.gather(*busy)
    await asyncio.gather(*(threads.call(lambda: None) for _ in range(THREADS)))
    threads._threads.shutdown()

    assert list(kept.iterdir()) == []
