"""Which installation a command means: those that work beside a server are easily given another one's data directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import click

from comfyward.errors import SetupFailed
from comfyward.settings import SERVER_LOCK, Settings


def check(settings: Settings) -> None:
    """Refuses a data directory that has no database, and warns when the server that runs here has another.

    Raises SetupFailed. A database of its own URL is shared by servers, and no matter of directories.
    """
    if settings.database_url is not None:
        return
    own, running = settings.data_dir.resolve(), running_servers()
    others = " and ".join(str(each) for each in sorted(running - {own}))
    if not settings.database_file().exists():
        raise SetupFailed(f"There is no comfyward in {settings.data_dir}.", hint=_hint(others))
    if others and own not in running:
        click.secho(
            f"Warning: no server runs in {settings.data_dir}, but in {others} (--data-dir).", fg="yellow", err=True
        )


def running_servers() -> set[Path]:
    """The data directories of the servers on this machine that this user may see."""
    return {Path(target).parent for target in _open_files() if target.endswith(f"/{SERVER_LOCK}")}


def _hint(others: str) -> str:
    if others:
        return f"A server runs with its data in {others}: give it as --data-dir, or set COMFYWARD_DATA_DIR."
    return (
        "Give the server's --data-dir (or set COMFYWARD_DATA_DIR). A new installation is begun by 'comfyward serve', or"
        " by 'comfyward db upgrade'."
    )


def _open_files() -> Iterator[str]:
    """What processes of comfyward hold open. A process may end meanwhile, or be somebody else's."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"comfyward" in (process / "cmdline").read_bytes():
                yield from map(_target, (process / "fd").iterdir())


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
