"""Checks of workflows, and the things that are being got for them, as the server describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OVER = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Check:
    """The things that a workflow lacks; `data` is the server's complete JSON object."""

    data: Mapping[str, Any]

    @property
    def runs(self) -> bool:
        """True if a run would be taken as it is."""
        return bool(self.data["runs"])

    @property
    def environment(self) -> str:
        """The environment in which the rest is so."""
        return str(self.data["environment"])

    @property
    def classes(self) -> list[dict[str, Any]]:
        """Node classes that it lacks, with their nodes and the packs that have them."""
        return list(self.data["classes"])

    @property
    def models(self) -> list[dict[str, Any]]:
        """Models that nobody has, with their nodes, URL, size and licence."""
        return list(self.data["models"])

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Files that are not uploaded."""
        return list(self.data["inputs"])

    @property
    def problems(self) -> list[dict[str, Any]]:
        """The problems that stay once all that is missing is there."""
        return list(self.data["problems"])

    @property
    def bytes(self) -> int:
        """The size of the missing models that is known."""
        return int(self.data["bytes"])


@dataclass(frozen=True)
class Job:
    """Something that is being got: an import, a revision of an environment, or a request to an admin."""

    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def kind(self) -> str:
        return str(self.data["kind"])

    @property
    def what(self) -> str:
        return str(self.data["what"])

    @property
    def state(self) -> str:
        """waiting, running, done, failed or cancelled."""
        return str(self.data["state"])

    @property
    def is_over(self) -> bool:
        """True if it has ended; a request to an admin may take days, and nobody waits for it."""
        return self.state in OVER


@dataclass(frozen=True)
class Got:
    """The things that a server began to get; `data` is its complete JSON object."""

    data: Mapping[str, Any]

    @property
    def check(self) -> Check:
        return Check(self.data["check"])

    @property
    def jobs(self) -> list[Job]:
        return [Job(each) for each in self.data["jobs"]]

    @property
    def uploads(self) -> list[dict[str, Any]]:
        """Files that the caller has to upload, each with its path."""
        return list(self.data["uploads"])

    @property
    def left(self) -> list[dict[str, Any]]:
        """The things that cannot be got so, with the reason and a hint."""
        return list(self.data["left"])
