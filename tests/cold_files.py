"""Model files that lie on a disk and not in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfyward.files import page_cache


def cold(file: Path, size: int) -> Path:
    """A file of random bytes, none of which is in memory. Skips the test where that is not possible."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(os.urandom(size))
    return cooled(file)


def cooled(file: Path) -> Path:
    """Takes a file out of memory."""
    opened = os.open(file, os.O_RDONLY)
    try:
        os.fsync(opened)  # pages that are not on the disk yet stay
    finally:
        os.close(opened)
    page_cache.let_go(file)
    if page_cache.resident_bytes(file) != 0:
        pytest.skip("files of this folder are always in memory")
    return file
