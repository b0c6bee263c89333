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
class Keeper:
    """A present worker that may keep models: `limit` bytes of its host's memory are for them."""

    id: str
    pool: str
    host: str
    limit: int
    kept: Mapping[str, ModelInMemory]  # by name

    @classmethod
    def of(cls, worker: WorkerRow) -> Keeper:
        kept = [msgspec.convert(model, ModelInMemory, strict=False) for model in worker.vitals.get("models") or ()]
        limit = int(worker.vitals.get("model_memory_bytes") or 0)
        return cls(worker.id, worker.pool, worker.host, limit, {model.name: model for model in kept})


@dataclass
class Assigned:
    """The pins of each worker, by its id, and the number of workers that are missing for a pin, by its id."""

    pins: dict[str, list[ModelPin]] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)


def assigned(pins: Iterable[ModelPin], keepers: Sequence[Keeper]) -> Assigned:
    """Gives each pin to as many workers of its pool as it wants and have room for it, earlier pins first.

    A worker that has the model in memory comes first; the others in an order that differs from pin to pin, and is the
    same every time: so a pin stays where it is when workers come and go.
    """
    found = Assigned({keeper.id: [] for keeper in keepers})
    taken = {keeper.id: dict[str, int]() for keeper in keepers}  # sizes by name
    for pin in pins:
        own = [keeper for keeper in keepers if keeper.pool == pin.pool and keeper.limit]
        able = [keeper for keeper in own if _fits(pin, keeper, taken[keeper.id])]
        chosen = sorted(able, key=lambda keeper: (not _has(keeper, pin), _order(pin, keeper)))[: pin.workers]
        for keeper in chosen:
            taken[keeper.id][pin.name] = size_of(pin, [keeper])
            found.pins[keeper.id].append(pin)
        if len(chosen) < pin.workers:
            found.missing[pin.id] = pin.workers - len(chosen)
    return found


def size_of(pin: ModelPin, keepers: Iterable[Keeper]) -> int:
    """The size of a pinned model, in bytes, from its file or from a worker that has it; 0 if it is not known."""
    if pin.size is not None:
        return pin.size
    return max((kept.size for keeper in keepers if (kept := keeper.kept.get(pin.name))), default=0)


def _fits(pin: ModelPin, keeper: Keeper, taken: Mapping[str, int]) -> bool:
    return pin.name in taken or sum(taken.values()) + size_of(pin, [keeper]) <= keeper.limit


def _has(keeper: Keeper, pin: ModelPin) -> bool:
    kept = keeper.kept.get(pin.name)
    return kept is not None and kept.is_whole


def _order(pin: ModelPin, keeper: Keeper) -> bytes:
    return sha256(f"{pin.id} {keeper.id}".encode()).digest()
