"""A builder in a process of its own: a worker's runs go on beside it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from comfyward.environments import child
from comfyward.environments.child import Step, read_order, say
from comfyward.environments.faults import may_pass
from comfyward.environments.lock import Lock
from comfyward.errors import ComfywardError


class Order(child.Order, frozen=True, kw_only=True):
    """A lock to be built. `archives` are trees that the server has sent, by digest."""

    lock: Lock
    archives: dict[str, str]


class Built(msgspec.Struct, frozen=True, tag="built"):
    """The environment is there."""


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """It could not be built. With `may_pass` it is worth trying again."""

    message: str
    hint: str | None
    may_pass: bool


Said = Step | Built | Broken


def main() -> None:
    """The process."""
    order = read_order(Order)
    if order is None:
        return
    try:
        _build(order)
        say(Built())
    except ComfywardError as error:
        say(Broken(error.message, error.hint, may_pass(error)))


def read(line: bytes) -> Said:
    """The message in a line."""
    said: Said = msgspec.json.decode(line, type=Said)
    return said


def _build(order: Order) -> None:
    workshop = order.workshop()
    for number, (tree, archive) in enumerate(order.archives.items()):
        say(Step("Unpacking what the server sent", number / len(order.archives)))
        workshop.sources.receive(Path(archive), tree)
    workshop.builder.build(order.lock, lambda step, part: say(Step(step, part)))


if __name__ == "__main__":
    main()
