"""The failure of a run, in the form of its row and of its last event."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class Failure(msgspec.Struct, frozen=True):
    """What went wrong, and what to do about it.

    The rest is what the worker reported. It is UNSET, which is false and not in the JSON, where no worker reported it:
    the run was cancelled, expired, ran out of credit or lost its worker.
    """

    message: str
    hint: str | None = None
    exception_type: str | UnsetType | None = UNSET
    node_id: str | UnsetType | None = UNSET
    node_type: str | UnsetType | None = UNSET
    traceback: list[str] | UnsetType = UNSET
    details: dict[str, Any] | UnsetType = UNSET
    executed: list[str] | UnsetType = UNSET
    current_inputs: dict[str, Any] | UnsetType = UNSET
    current_outputs: list[str] | UnsetType = UNSET

    @property
    def facts(self) -> dict[str, Any]:
        """What is known beside the message: node errors, the file or the input that it is about."""
        return self.details or {}
