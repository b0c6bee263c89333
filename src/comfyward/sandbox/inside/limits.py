"""Limits of one ComfyUI that the kernel enforces by itself: memory, processes, size of a file, open files."""

from __future__ import annotations

import resource
from typing import Mapping

KINDS = {
    "data_bytes": resource.RLIMIT_DATA,
    "processes": resource.RLIMIT_NPROC,
    "file_bytes": resource.RLIMIT_FSIZE,
    "open_files": resource.RLIMIT_NOFILE,
}


def apply(limits: Mapping[str, int]) -> None:
    """Sets the limits, at most those that this process has. Memory is never written to disk after a crash."""
    for name, kind in KINDS.items():
        if limits.get(name):
            _, most = resource.getrlimit(kind)
            limit = limits[name] if most == resource.RLIM_INFINITY else min(limits[name], most)
            resource.setrlimit(kind, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
