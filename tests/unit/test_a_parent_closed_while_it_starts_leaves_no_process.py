"""Killing the first process of a bubblewrap that has not begun would leave the second one for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from comfyward.comfy.parent import Environment
from comfyward.comfy.parents import ComfyParents
from comfyward.sandbox import walls

# In the place of Python: a process that starts another one, and does not take it along when it is killed.
TWO_PROCESSES = """#!/bin/sh
sleep 600 &
echo $! > "$0.pid"
wait
"""


@pytest.mark.parametrize("is_created", [True, False])
async def test_a_parent_closed_while_it_starts_leaves_no_process(
    is_created: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, told = tmp_path / "python", tmp_path / "python.pid"
    python.write_text(TWO_PROCESSES)
    python.chmod(0o755)
    create, started = asyncio.create_subprocess_exec, asyncio.Event()

    async def create_slowly(*arguments: Any, **named: Any) -> asyncio.subprocess.Process:
        process = await create(*arguments, **named)
        while not told.exists() or not told.read_text().strip():
            await asyncio.sleep(0.01)
        started.set()
        if not is_created:
            await asyncio.sleep(0.1)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create_slowly)
    parents = ComfyParents(tmp_path)
    await parents.prepare(Environment(python, tmp_path, (), walls.Level.NONE, walls.Access((), tmp_path)))
    await started.wait()

    await parents.close()

    second = int(told.read_text())
    async with asyncio.timeout(60):
        while _runs(second):
            await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    """True unless the process has ended, also if nobody has asked for its status yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
