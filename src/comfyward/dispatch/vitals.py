"""The vital signs of a worker, as they are stored."""

from __future__ import annotations

from typing import Any

import msgspec

from comfyward.store.db import now_ms
from comfyward.worker.message_bounds import MAX_BYTES, MAX_IN_MEMORY, MAX_PATH, MAX_WARM
from comfyward.worker.protocol import Vitals


def bounded(vitals: Vitals) -> dict[str, Any]:
    """Vitals as they are stored: what is out of bounds is left out, since a heartbeat is not refused for it."""
    warm = [name[:MAX_PATH] for name in vitals.warm[:MAX_WARM]]
    memory = None if vitals.memory is None else _within(msgspec.to_builtins(vitals.memory))
    models = [
        {**_within(msgspec.to_builtins(model)), "since": max(0, min(model.since, now_ms()))}
        for model in vitals.models[:MAX_IN_MEMORY]
    ]
    return {**_within(msgspec.to_builtins(vitals)), "warm": warm, "memory": memory, "models": models}


def _within(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: max(0, min(value, MAX_BYTES)) if isinstance(value, int) else str(value)[:MAX_PATH]
        for name, value in values.items()
    }
