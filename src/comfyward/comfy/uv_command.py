"""The command uv: its lines while it runs, and what they tell of the progress of an installation."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import uv

from comfyward.sandbox.inside import kernel

# progress(current step, fraction done or None if unknown)
Progress = Callable[[str, float | None], None]

_ANNOUNCED = re.compile(r"^\s*Downloading (\S+) \(([\d.]+)\s*([KMG]i)?B\)")
_DOWNLOADED = re.compile(r"^\s*Downloaded (\S+)")
_UNITS = {None: 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_LAST_LINES = 15  # of its output that an error keeps


class UvFailed(Exception):
    """uv ended with an error, whose message holds the last lines of what it said."""


def run(*arguments: str, variables: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raises UvFailed."""
    for _ in lines(*arguments, variables=variables):
        pass


def lines(*arguments: str, variables: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """The lines that uv prints. `variables` are added to its environment. Raises UvFailed."""
    said: list[str] = []
    command = [uv.find_uv_bin(), *arguments]
    # A builder that is killed takes it along: what it would go on to write belongs to nobody.
    with subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=kernel.die_with_us(),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            yield line
    if process.returncode:
        raise UvFailed("".join(said[-_LAST_LINES:]).strip())


def follow(said: Iterable[str], packages: str, progress: Progress) -> None:
    """Tells the progress of an installation of `packages`, such as "ComfyUI's packages", from its lines."""
    sizes: dict[str, float] = {}
    done = 0.0
    for line in said:
        if match := _ANNOUNCED.match(line):
            sizes[match[1]] = float(match[2]) * _UNITS[match[3]]
        elif match := _DOWNLOADED.match(line):
            done += sizes.get(match[1], 0.0)
            progress(f"Fetching {packages}", min(0.99, done / max(sum(sizes.values()), 1.0)))
        elif line.startswith("Prepared"):
            progress(f"Installing {packages}", None)
