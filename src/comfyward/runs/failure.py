"""The failure of a run, in the form of its row and of its last event."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

WAS_CANCELLED = "The run was cancelled."


class Failure(msgspec.Struct, frozen=True):
    """The error message of a run, and a hint.

    The other fields are reported by the worker. They are UNSET, which is false and left out of the JSON, if no worker
    reported the failure: the run was cancelled before it executed, expired, ran out of credit or lost its worker.
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
        """Details beside the message: node errors, or the file or input that the failure is about."""
        return self.details or {}
