"""Guards commands that run beside a server against the data directory of another installation."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import click

from comfyward.errors import SetupFailed
from comfyward.settings import SERVER_LOCK, Settings


def check(settings: Settings) -> None:
    """Raises SetupFailed if the data directory has no database; warns if servers run here, but not in it.

    A database with a URL is shared between servers, so the directory does not matter.
    """
    if settings.database_url is not None:
        return
    own, running = settings.data_dir.resolve(), running_servers()
    others = _listed(sorted(str(each) for each in running - {own}))
    if not settings.database_file().exists():
        raise SetupFailed(f"There is no comfyward installation in {settings.data_dir}.", hint=_hint(others))
    if others and own not in running:
        message = f"Warning: no server uses {settings.data_dir}, but one uses {others} (--data-dir)."
        click.secho(message, fg="yellow", err=True)


def running_servers() -> set[Path]:
    """The data directories of the servers on this machine, as far as this user may see them."""
    return {Path(target).parent for target in _open_files() if target.endswith(f"/{SERVER_LOCK}")}


def _listed(folders: list[str]) -> str:
    """The folders as part of a sentence; "" for none."""
    return " and ".join(filter(None, (", ".join(folders[:-1]), *folders[-1:])))


def _hint(others: str) -> str:
    if others:
        return f"A server uses {others}: pass the folder as --data-dir, or set COMFYWARD_DATA_DIR."
    return (
        "Pass the server's --data-dir (or set COMFYWARD_DATA_DIR). 'comfyward serve' or 'comfyward db upgrade' creates"
        " a new installation."
    )


def _open_files() -> Iterator[str]:
    """The files that processes of comfyward hold open; other users' processes are skipped."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"comfyward" in (process / "cmdline").read_bytes():
                yield from map(_target, (process / "fd").iterdir())


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
