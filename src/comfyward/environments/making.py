"""A builder in a process of its own, at low priority: a worker's runs go on beside it.

It reads an Order from its standard input, and writes a line for each Step to its standard output; the last line is how
it ended. It ends with the process that started it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec

from comfyward.environments.faults import may_pass
from comfyward.environments.lock import Lock
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.workshop import Workshop
from comfyward.errors import ComfywardError
from comfyward.files.guard import Guard
from comfyward.sandbox.inside import kernel

NICE = 10  # a tenth of what a busy processor gives to others: builds are slow then, but they end


class Order(msgspec.Struct, frozen=True):
    """A lock to be built below `root`. `archives` are trees that the server has sent, by digest.

    `worker` is the process that gives the order.
    """

    root: str
    registry_url: str
    fetch_allow: tuple[str, ...]
    lock: Lock
    archives: dict[str, str]
    worker: int


class Step(msgspec.Struct, frozen=True, tag="step"):
    """The step that is being done now, and how much of it is done (None: unknown)."""

    step: str
    part: float | None


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
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    if not kernel.die_with(order.worker, signal.SIGKILL):
        return
    os.nice(NICE)
    try:
        _build(order)
        _say(Built())
    except ComfywardError as error:
        _say(Broken(error.message, error.hint, may_pass(error)))


def _build(order: Order) -> None:
    registry = ComfyRegistry(order.registry_url, Guard.allowing(order.fetch_allow))
    workshop = Workshop.below(Path(order.root), registry)
    for number, (tree, archive) in enumerate(order.archives.items()):
        _say(Step("Unpacking what the server sent", number / len(order.archives)))
        workshop.sources.receive(Path(archive), tree)
    workshop.builder.build(order.lock, lambda step, part: _say(Step(step, part)))


def _say(said: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
