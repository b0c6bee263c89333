"""Partner-node keys that come with a run: passed to its worker, never stored or shown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from comfyward.runs.change import Change, RunEnded
from comfyward.runs.run import Run
from comfyward.store.notices import Notice, Notices, SecretsFound, SecretsGone, SecretsKept, SecretsWanted

SECRET_NAMES = ("api_key_comfy_org", "auth_token_comfy_org")
MAX_KEPT = 10_000
WAIT_S = 2.0  # for the answer of the server that has them: none comes if that was restarted


class Secrets:
    """Secrets by run, in the memory of all servers. A server that starts does not have those of earlier runs, and one
    that assigns a run at once may not have them yet: it asks the others."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._kept: dict[str, dict[str, Any]] = {}
        self._awaited: dict[str, asyncio.Event] = {}
        notices.subscribe(self._on_notice, lambda: None)

    async def keep(self, run_id: str, secrets: Mapping[str, Any]) -> None:
        """Remembers a run's secrets here and, before it returns, on the other servers: any may assign the run."""
        if secrets:
            self._remember(run_id, secrets)
            self._notices.send(SecretsKept(run_id, dict(secrets)))
            await self._notices.flush()

    def forget(self, run_id: str) -> None:
        """Forgets a run's secrets, here and on the other servers."""
        if self._kept.pop(run_id, None) is not None:
            self._notices.send(SecretsGone(run_id))

    async def of(self, run: Run) -> dict[str, Any]:
        """The secrets that came with a run; none if no server has them any more."""
        if run.has_secrets and run.id not in self._kept and self._notices.is_shared:
            came = self._awaited.setdefault(run.id, asyncio.Event())
            self._notices.send(SecretsWanted(run.id))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(came.wait(), WAIT_S)
            self._awaited.pop(run.id, None)
        return self._kept.get(run.id, {})

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Discards the secrets of runs that have ended."""
        for change in changes:
            match change:
                case RunEnded(run):
                    self.forget(run.id)

    def _on_notice(self, notice: Notice) -> None:
        match notice:
            case SecretsKept(run_id, secrets):
                self._remember(run_id, secrets)
            case SecretsWanted(run_id) if run_id in self._kept:
                self._notices.send(SecretsFound(run_id, self._kept[run_id]))
            case SecretsFound(run_id, secrets) if run_id in self._awaited:
                self._remember(run_id, secrets)
            case SecretsGone(run_id):
                self._kept.pop(run_id, None)

    def _remember(self, run_id: str, secrets: Mapping[str, Any]) -> None:
        """Remembers a run's secrets; discards the oldest if there are more than MAX_KEPT."""
        self._kept[run_id] = dict(secrets)
        if (awaited := self._awaited.get(run_id)) is not None:
            awaited.set()
        if len(self._kept) > MAX_KEPT:
            self._kept.pop(next(iter(self._kept)))


def without_secrets(extra_data: Any) -> tuple[Any, dict[str, Any]]:
    """Splits `extra_data` into (what may be stored, the secrets)."""
    if not isinstance(extra_data, dict):
        return extra_data, {}
    secrets = {name: extra_data[name] for name in SECRET_NAMES if name in extra_data}
    return {name: value for name, value in extra_data.items() if name not in secrets} or None, secrets
