"""Runs, their outputs and their events, as the server describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FINAL_STATUSES = ("COMPLETED", "ERROR", "INSUFFICIENT_CREDIT")

Source = str | Path  # a URL or a local file
Progress = Callable[[str, int, int], None]  # (name of a file, bytes done, bytes in total)


@dataclass(frozen=True)
class Output:
    """A file that a run has created. The URL works without a key; `size` is in bytes."""

    name: str
    url: str
    size: int
    content_type: str
    node_id: str | None
    text: str | None


@dataclass(frozen=True)
class Run:
    """A run; `data` is the server's complete JSON object."""

    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def workflow_id(self) -> str:
        return str(self.data["workflow_id"])

    @property
    def status(self) -> str:
        return str(self.data["status"])

    @property
    def end_reason(self) -> str | None:
        return self.data.get("end_reason")

    @property
    def is_over(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def succeeded(self) -> bool:
        return self.status == "COMPLETED"

    @property
    def outputs(self) -> list[Output]:
        """The outputs created so far, also those of a run that failed later."""
        prefix = f"/workflows/{self.workflow_id}/output/{self.id}/"
        found = self.data.get("outputs") or []
        return [
            Output(
                name=each["filename"].removeprefix(prefix),
                url=each["url"],
                size=each["size"],
                content_type=each["content_type"],
                node_id=each.get("node_id"),
                text=each.get("text"),
            )
            for each in found
        ]


@dataclass(frozen=True)
class Event:
    """An event of a run.

    `type` is status, download, staged, cached, progress, preview, output or cancelling. `seq` numbers the events that
    the server can replay, and is None for others.
    """

    type: str
    data: Mapping[str, Any]
    seq: int | None
