"""Folders are compiled by several processes. If the first of them is killed, the others end, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from comfyward.comfy.bytecode import compile_folders

MODULES = 2000
CALLER = """
import sys
from pathlib import Path
from comfyward.comfy.bytecode import compile_folders
compile_folders(*map(Path, sys.argv[1:]))
"""
LONG = f"x = [{'1, ' * 2000}]\n"


def test_none_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    for number in range(MODULES):
        (folder / f"m{number}.py").write_text(LONG)
    caller = subprocess.Popen([sys.executable, "-c", CALLER, sys.executable, str(folder)])
    own = {caller.pid}
    while len(compilers := _processes_with(folder) - own) < 2:
        assert caller.poll() is None, "it was compiled before it could be killed"

    os.kill(min(compilers), signal.SIGKILL)

    caller.wait(60)
    deadline = time.monotonic() + 60
    while left := _processes_with(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_what_does_not_compile_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "bad.py").write_text("def (")

    compile_folders(Path(sys.executable), tmp_path)

    assert [path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")] == ["good"]


def _processes_with(folder: Path) -> set[int]:
    """The processes whose command names a folder."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(folder) in arguments:
            found.add(int(path.parent.name))
    return found
