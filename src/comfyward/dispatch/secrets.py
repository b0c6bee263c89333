"""Keys for partner nodes that come with a run: handed to its worker, never written down or shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfyward.runs.event import Event

SECRET_NAMES = ("api_key_comfy_org", "auth_token_comfy_org")
MAX_KEPT = 10_000


class Secrets:
    """In this process's memory only: a server that starts anew does not know those of runs that still wait."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}

    def keep(self, run_id: str, secrets: Mapping[str, Any]) -> None:
        if secrets and len(self._kept) < MAX_KEPT:
            self._kept[run_id] = dict(secrets)

    def forget(self, run_id: str) -> None:
        self._kept.pop(run_id, None)

    def of(self, run_id: str) -> dict[str, Any]:
        return self._kept.get(run_id, {})

    def see(self, events: Sequence[Event]) -> None:
        """Forgets those of runs that are over."""
        for event in events:
            if event.is_last:
                self.forget(event.run_id)


def without_secrets(extra_data: Any) -> tuple[Any, dict[str, Any]]:
    """(extra_data as it may be stored, the secrets that it held)."""
    if not isinstance(extra_data, dict):
        return extra_data, {}
    secrets = {name: extra_data[name] for name in SECRET_NAMES if name in extra_data}
    return {name: value for name, value in extra_data.items() if name not in secrets} or None, secrets
