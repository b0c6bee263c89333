"""Locks specs in a process of its own: a server goes on beside it, and can end it at any moment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comfyward.environments import child
from comfyward.environments.child import Step, Tell, follow, read_order, say
from comfyward.environments.fetching import Fetching
from comfyward.environments.lock import Lock
from comfyward.environments.spec import parse_spec, spec_toml
from comfyward.environments.updating import Offered
from comfyward.errors import ComfywardError, SetupFailed


class Order(child.Order, frozen=True, kw_only=True):
    """A spec (TOML) to be locked, after an update unless that is None, as in `Workshop.next_of`."""

    spec: str
    former: Lock | None
    update: str | None


class Locked(msgspec.Struct, frozen=True, tag="locked"):
    """The lock of a spec; newer releases of ComfyUI; sentences on what could not be asked."""

    spec: str
    lock: Lock
    offers: tuple[Offered, ...]
    notes: tuple[str, ...]


class NotLocked(msgspec.Struct, frozen=True, tag="refused"):
    """It cannot be locked."""

    message: str
    hint: str | None


Said = Step | Locked | NotLocked


@dataclass(frozen=True)
class Lockers:
    """Starts processes that lock, for environments below a folder."""

    root: Path
    registry_url: str
    fetching: Fetching

    async def lock(self, spec: str, former: Lock | None, update: str | None, tell: Tell) -> Locked:
        """The exact content of a spec, for this host's target. Raises SetupFailed, with the reason."""
        order = Order(
            root=str(self.root.resolve()),
            registry_url=self.registry_url,
            fetching=self.fetching,
            parent=os.getpid(),
            spec=spec,
            former=former,
            update=update,
        )
        said: Locked | NotLocked = await follow(__name__, order, _read, tell)
        if isinstance(said, NotLocked):
            raise SetupFailed(said.message, hint=said.hint)
        return said


def _read(line: bytes) -> Said:
    said: Said = msgspec.json.decode(line, type=Said)
    return said


def main() -> None:
    """The process."""
    order = read_order(Order)
    if order is None:
        return
    try:
        spec, tell = parse_spec(order.spec), lambda step, part: say(Step(step, part))
        made = order.workshop().next_of(spec, order.former, order.update, tell)
        say(Locked(spec_toml(made.update.spec), made.lock, made.update.offers, made.update.notes))
    except ComfywardError as error:
        say(NotLocked(error.message, error.hint))


if __name__ == "__main__":
    main()
