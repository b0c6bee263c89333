"""Sentences for an operator: what the sandbox of this host lacks, or hides from ComfyUI by mistake."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from comfyward.sandbox import walls
from comfyward.sandbox.inside import seccomp

MOST_LOOKED_AT = 20_000  # files and folders of one model folder


def weaknesses(level: walls.Level, access: walls.Access, models: Iterable[Path]) -> list[str]:
    """Sentences about system calls that are not filtered here, and about models that ComfyUI cannot read."""
    found = []
    machine = os.uname().machine
    if level is not walls.Level.NONE and machine not in seccomp.ARCHITECTURES:
        found.append(f"ComfyUI may make every system call: there is no filter for machines of the kind {machine}.")
    if walls.owner(level, access) is None:  # it is the worker's own user
        return found
    for folder in models:
        if (path := closed_to_others(folder)) is not None:
            found.append(
                f"ComfyUI runs as a user without a name, who cannot read {path}: use 'chmod -R o+rX {folder}', "
                "or run the worker as the owner of these models."
            )
    return found


def closed_to_others(folder: Path) -> Path | None:
    """The first of a folder and everything in it that only its owner and its group can read; None if there is none."""
    return next((path for path in itertools.islice(_everything_in(folder), MOST_LOOKED_AT) if not _is_open(path)), None)


def _everything_in(folder: Path) -> Iterator[Path]:
    yield folder
    for top, folders, files in os.walk(folder):
        yield from (Path(top, name) for name in sorted((*folders, *files)))


def _is_open(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return True  # a link to nothing is nobody's
    needed = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    return mode & needed == needed
