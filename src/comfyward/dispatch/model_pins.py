"""Pins: models that workers keep in memory, by an admin's wish; and what is in memory where."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.library import Library
from comfyward.dispatch.model_list import Model, ModelFilter
from comfyward.dispatch.pinning import Assigned, HostMemory, assigned, size_of
from comfyward.errors import Conflict, Forbidden, NotFound
from comfyward.ids import new_id
from comfyward.paths import model_at, model_path
from comfyward.runs.files import parse_path
from comfyward.store import model_pins, models, workers, workflows
from comfyward.store.db import Database, now_ms
from comfyward.store.model_pins import ModelPin
from comfyward.wording import plural, size
from comfyward.worker.protocol import ModelOrder
from comfyward.workflows.model_names import names_of

REMEMBER_S = 2.0
MOST_MODELS = 10_000


@dataclass(frozen=True)
class NewPin:
    """A wish of an admin: a model, as FOLDER/NAME, or all models that a workflow names, on some workers of an
    accelerator."""

    model: str
    workflow_id: str
    accelerator: str
    workers: int


@dataclass(frozen=True)
class _Situation:
    pins: Sequence[ModelPin] = ()
    memories: Sequence[HostMemory] = ()
    who: Assigned = field(default_factory=Assigned)


class PinnedModels:
    """The models that workers are asked to keep in memory."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._read_at = float("-inf")
        self._situation = _Situation()
        self._reading = asyncio.Lock()

    async def of(self, worker_id: str) -> list[ModelOrder]:
        """The models that a worker is to keep, as of a moment ago: every heartbeat asks."""
        return [ModelOrder(pin.path, pin.digest) for pin in await self._pins_of(worker_id)]

    async def size(self, worker_id: str, digest: str) -> int:
        """The size in bytes of a model that a worker is to keep. Raises NotFound."""
        pins = await self._pins_of(worker_id)
        found = next((pin.size for pin in pins if digest and pin.digest == digest), None)
        if found is None:
            raise NotFound("The model is not pinned to this worker.")
        return found

    async def _pins_of(self, worker_id: str) -> Sequence[ModelPin]:
        async with self._reading:
            if time.monotonic() - self._read_at > REMEMBER_S:
                self._read_at = time.monotonic()
                is_any = await self._db.lookup(model_pins.find)
                self._situation = await self._db.read(_situation) if is_any else _Situation()
        return self._situation.who.pins.get(worker_id, ())


@dataclass(frozen=True)
class Holding:
    """A worker that was asked to keep a pinned model: how many bytes of it are in memory, and what is in the way."""

    worker_id: str
    host: str
    resident: int
    problem: str


@dataclass(frozen=True)
class PinState:
    """A pin and the workers that have it. `size` is None if it is not known yet; `missing` workers have no room, or are
    not there."""

    pin: ModelPin
    size: int | None
    holdings: Sequence[Holding]
    missing: int


class ModelPins:
    def __init__(self, db: Database, library: Library, inventory: Inventory) -> None:
        self._db, self._library, self._inventory = db, library, inventory

    async def states(self, account: Account) -> list[PinState]:
        """All pins with what became of them. Raises Forbidden."""
        check_may_see_memory(account)
        return _states(await self._db.read(_situation))

    async def memories(self, account: Account) -> list[HostMemory]:
        """The present workers, with what their hosts have in memory. Raises Forbidden."""
        check_may_see_memory(account)
        return list((await self._db.read(_situation)).memories)

    async def pin(self, account: Account, new: NewPin) -> list[ModelPin]:
        """Pins a model, or all of a workflow. Raises Forbidden, InvalidPath, NotFound, UnknownAccelerator, and Conflict
        for what cannot be kept."""
        check_may_see_memory(account)
        _, pool = self._inventory.resolve(new.accelerator, await self._inventory.pools())
        found = await self._models_of(account, new)
        pins = [
            ModelPin(
                *(new_id(), account.id, pool, model.path, model.digest, model.size, new.workers, new.workflow_id),
                created_at=now_ms(),
            )
            for model in found
        ]
        await self._db.write(_pin, pins)
        return pins

    async def remove(self, account: Account, pin_id: str) -> None:
        """Raises Forbidden, NotFound."""
        check_may_see_memory(account)
        await self._db.write(model_pins.remove, pin_id)

    async def _models_of(self, account: Account, new: NewPin) -> list[Model]:
        """Raises InvalidPath, NotFound, Conflict."""
        if not new.workflow_id:
            return [_pinnable(await self._library.get(account, parse_path(model_path(new.model))))]
        names = await self._db.read(_names_in, account.id, new.workflow_id)
        page = await self._library.page(account, ModelFilter(), None, MOST_MODELS)
        found = [model for model in page.models if names & {*names_of(model.path)}]
        if not found:
            raise NotFound("The workflow names no model that is here.", hint="Get its models first, then pin them.")
        return [_pinnable(model) for model in found]


def check_may_see_memory(account: Account) -> None:
    """For reading and for pinning. Raises Forbidden."""
    if not account.is_admin:
        raise Forbidden("Only admins see and decide what workers keep in memory: it names models of all accounts.")


def _pinnable(model: Model) -> Model:
    if model.origin == "link":
        raise Conflict(
            f"The model '{model_at(model.path)}' is only known by its URL.",
            hint="Import it first: POST /api/v1/imports.",
        )
    return model


def _names_in(conn: Connection, account_id: str, workflow_id: str) -> set[str]:
    workflows.get(conn, account_id, workflow_id)
    return models.named_by(conn, account_id, workflow_id)


def _pin(conn: Connection, pins: Sequence[ModelPin]) -> None:
    """Stores pins together, if there is room for all of them. Raises Conflict."""
    for pin in pins:
        model_pins.put(conn, pin)
    after = _situation(conn)
    for pin in pins:
        here = [memory for memory in after.memories if memory.pool == pin.pool]
        if pin.workers - after.who.missing.get(pin.id, 0) < min(pin.workers, len(here)):
            raise _no_room(pin, here, after)


def _no_room(pin: ModelPin, here: Sequence[HostMemory], after: _Situation) -> Conflict:
    """The refusal of a pin, with what the workers keep already."""
    name = model_at(pin.path)
    if not any(memory.limit for memory in here):
        return Conflict(
            f"The workers of {pin.pool} keep no models in memory.", hint="Set COMFYWARD_MODEL_MEMORY on their hosts."
        )
    room = [
        f"{memory.id} keeps {size(memory.limit)}, of which {size(_pinned(memory, after))} are pinned" for memory in here
    ]
    more = f", and {plural(len(room) - 3, 'other')}" if len(room) > 3 else ""
    had = pin.workers - after.who.missing.get(pin.id, 0)
    return Conflict(
        f"'{name}' ({size(size_of(pin, here))}) fits on {plural(had, 'worker')} of {pin.pool}, not on {pin.workers}: "
        f"{'; '.join(room[:3])}{more}.",
        hint="Unpin other models, raise COMFYWARD_MODEL_MEMORY, or ask for fewer workers.",
    )


def _pinned(memory: HostMemory, after: _Situation) -> int:
    return sum({pin.name: size_of(pin, [memory]) for pin in after.who.pins.get(memory.id, ())}.values())


def _situation(conn: Connection) -> _Situation:
    pins = model_pins.find(conn)
    found = workers.find(conn, now_ms() - workers.PRESENT_MS)
    # One that has just joined has not told yet how much it keeps; one of an earlier version never does.
    present = [HostMemory.of(worker) for worker in found if "model_memory_bytes" in worker.vitals]
    return _Situation(pins, present, assigned(pins, present))


def _states(situation: _Situation) -> list[PinState]:
    by_id = {memory.id: memory for memory in situation.memories}
    return [
        PinState(
            pin,
            size_of(pin, situation.memories) or None,
            [_holding(by_id[worker_id], pin) for worker_id, pins in sorted(situation.who.pins.items()) if pin in pins],
            situation.who.missing.get(pin.id, 0),
        )
        for pin in situation.pins
    ]


def _holding(memory: HostMemory, pin: ModelPin) -> Holding:
    kept = memory.kept.get(pin.name)
    return Holding(memory.id, memory.host, 0 if kept is None else kept.resident, "" if kept is None else kept.problem)
