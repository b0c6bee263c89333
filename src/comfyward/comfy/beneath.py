"""Opens folders that ComfyUI and its nodes may write to: each beneath the last one, and never through a link."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from comfyward.comfy import removal
from comfyward.comfy.removal import FOLDER


@contextlib.contextmanager
def opened(base: Path, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """The descriptor of the folder `base/parts…`, closed after the block. `create` makes missing folders.

    Raises FileNotFoundError if there is no such folder, or if a part of its path is a link or leads out of the base.
    """
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        raise FileNotFoundError("/".join(parts))
    here = os.open(base, FOLDER)
    try:
        for part in parts:
            inner = _opened_in(here, part, create=create)
            os.close(here)
            here = inner
        yield here
    finally:
        os.close(here)


def _opened_in(here: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=here)
    except OSError:
        if not create:
            raise FileNotFoundError(name) from None
    removal.remove(name, here)  # a file, or a link that may lead elsewhere
    os.mkdir(name, dir_fd=here)
    return os.open(name, FOLDER, dir_fd=here)
