"""The hosts that a ComfyUI may reach, and who sees to that."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from comfyward.sandbox.inside.namespaces import DOOR

# As curl, requests, urllib, httpx, git, pip and huggingface_hub read them; some know only one of the two spellings.
PROXY = {name: "http://{}:{}".format(*DOOR) for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
PROXY |= dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1")

RECORD = ("temp", "comfyward-fetched.jsonl")


@dataclass(frozen=True)
class Egress:
    """`hosts` are entries of a spec's `egress`, `allow` the private addresses that an operator allows.

    With `is_recorded` ComfyUI writes down what it fetches, in RECORD below its base folder.
    """

    hosts: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    is_recorded: bool = False


class Doorkeeper(Protocol):
    """The one that answers at the door of a ComfyUI, and decides which hosts it reaches."""

    async def open(self, door: socket.socket, log: Path) -> None:
        """Begins to answer. What is refused is also written to the log."""

    async def close(self) -> None:
        """Ends all connections."""
