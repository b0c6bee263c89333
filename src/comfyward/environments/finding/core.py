"""ComfyUI's own node classes, and the versions that have them. `scripts/core_classes.py` writes the table."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

from comfyward.workflows.offer import Confidence, Offer, Origin

TABLE = Path(__file__).parent / "core.json"


class _Table(msgspec.Struct):
    versions: list[str]
    classes: dict[str, tuple[str, str | None]]  # (first version, last one if a later one lacks it)


def core_offer(name: str) -> Offer | None:
    """The versions of ComfyUI that have a class; None if it is no class of ComfyUI."""
    span = _table().classes.get(name)
    if span is None:
        return None
    first, last = span
    versions = f">={first}" if last is None else f">={first},<={last}"
    return Offer("ComfyUI", Origin.CORE, Confidence.CERTAIN, comfyui=versions)


@functools.cache
def _table() -> _Table:
    return msgspec.json.decode(TABLE.read_bytes(), type=_Table)
