"""The workers that keep each pinned model in memory. Pure; the same on every server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec

from comfyward.store.model_pins import ModelPin
from comfyward.store.workers import WorkerRow
from comfyward.worker.protocol import ModelInMemory


@dataclass(frozen=True)
class HostMemory:
    """The memory of a present worker's host, of which `limit` bytes are for models. `id` is the worker's."""

    id: str
    pool: str
    host: str
    limit: int
    kept: Mapping[str, ModelInMemory]  # by name

    @classmethod
    def of(cls, worker: WorkerRow) -> HostMemory:
        kept = [msgspec.convert(model, ModelInMemory, strict=False) for model in worker.vitals.get("models") or ()]
        limit = int(worker.vitals.get("model_memory_bytes") or 0)
        return cls(worker.id, worker.pool, worker.host, limit, {model.name: model for model in kept})


@dataclass
class Assigned:
    """The pins of each worker, by its id, and the number of workers that are missing for a pin, by its id."""

    pins: dict[str, list[ModelPin]] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)


def assigned(pins: Iterable[ModelPin], memories: Sequence[HostMemory]) -> Assigned:
    """Gives each pin to as many workers of its pool as it wants and have room for it, earlier pins first.

    A worker that has the model in memory comes first; the others in an order that differs from pin to pin, and is the
    same every time: so a pin stays where it is when workers come and go.
    """
    found = Assigned({memory.id: [] for memory in memories})
    taken = {memory.id: dict[str, int]() for memory in memories}  # sizes by name
    for pin in pins:
        own = [memory for memory in memories if memory.pool == pin.pool and memory.limit]
        able = [memory for memory in own if _fits(pin, memory, taken[memory.id])]
        chosen = sorted(able, key=lambda memory: (not _has(memory, pin), _order(pin, memory)))[: pin.workers]
        for memory in chosen:
            taken[memory.id][pin.name] = size_of(pin, [memory])
            found.pins[memory.id].append(pin)
        if len(chosen) < pin.workers:
            found.missing[pin.id] = pin.workers - len(chosen)
    return found


def size_of(pin: ModelPin, memories: Iterable[HostMemory]) -> int:
    """The size of a pinned model, in bytes, from its file or from a worker that has it; 0 if it is not known."""
    if pin.size is not None:
        return pin.size
    return max((kept.size for memory in memories if (kept := memory.kept.get(pin.name))), default=0)


def _fits(pin: ModelPin, memory: HostMemory, taken: Mapping[str, int]) -> bool:
    return pin.name in taken or sum(taken.values()) + size_of(pin, [memory]) <= memory.limit


def _has(memory: HostMemory, pin: ModelPin) -> bool:
    kept = memory.kept.get(pin.name)
    return kept is not None and kept.is_whole


def _order(pin: ModelPin, memory: HostMemory) -> bytes:
    return sha256(f"{pin.id} {memory.id}".encode()).digest()
