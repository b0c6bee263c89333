"""The packs, or the versions of ComfyUI, that have a node class which is missing here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

ADD_COMMAND = "comfyward environments add NAME"
CHECK_HINT = "POST /api/v1/workflows/check says all that is missing, POST /api/v1/workflows/get gets it."


NO_PACK_HINT = "Search for its name, and add its repository by address."


def no_pack(what: str) -> str:
    """The sentence on a class, on words that were searched for, or on "it"."""
    return f"No pack is known that has {what}."


class Origin(StrEnum):
    """The place where an offer was found, the most trusted first."""

    INSTALLED = "installed"  # the catalog has the class already
    CORE = "core"  # our table of ComfyUI's own classes
    TABLE = "table"  # the operator's own
    WORKFLOW = "workflow"  # the editor's graph names the pack: a stranger's word
    REGISTRY = "registry"
    MAP = "map"  # ComfyUI-Manager's, by the class's whole name
    PATTERN = "pattern"  # ComfyUI-Manager's, by a pattern that the pack claims


class Confidence(StrEnum):
    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"  # others claim the class too, or a pattern does


@dataclass(frozen=True)
class Offer:
    """A pack that has a class, or ComfyUI itself."""

    pack: str
    origin: Origin
    confidence: Confidence
    source: str | None = None  # as `comfyward environments add` takes it; None if it cannot be added that way
    comfyui: str | None = None  # the versions of ComfyUI that have the class, such as ">=0.18.2"

    @property
    def command(self) -> str | None:
        """The command that adds the pack to an environment."""
        return f"{ADD_COMMAND} {shlex.quote(self.source)}" if self.source else None

    @property
    def sentence(self) -> str:
        """The offer as it continues "X is not installed: "."""
        if self.comfyui is not None:
            return f"it needs ComfyUI {self.comfyui}"
        return (
            f"it is in the pack {self.pack}" if self.confidence != Confidence.POSSIBLE else f"{self.pack} may have it"
        )

    def facts(self) -> dict[str, Any]:
        return {
            "pack": self.pack,
            "source": self.source,
            "comfyui": self.comfyui,
            "from": str(self.origin),
            "confidence": str(self.confidence),
            "command": self.command,
        }


Offers = Mapping[str, tuple[Offer, ...]]


class Elsewhere(Protocol):
    """Knows what has the classes that are missing here."""

    def known(self, classes: Sequence[str]) -> Offers:
        """The offers by class, the best first, of what can be said at once: nobody is asked."""
        ...


class Nowhere:
    """Knows nothing."""

    def known(self, classes: Sequence[str]) -> Offers:
        return {}


NOWHERE = Nowhere()
