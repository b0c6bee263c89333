"""Packs of the Comfy Registry: the description of a version, and its archive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from comfyward.environments.archive import unpack
from comfyward.environments.source import Registry, parse_pack
from comfyward.errors import FetchFailed, InvalidEnvironment, SetupFailed
from comfyward.files.fetch import Fetch, Limits
from comfyward.files.guard import Guard
from comfyward.files.remote_file import RemoteFile
from comfyward.files.stop import Stop
from comfyward.runs.files import Url
from comfyward.sandbox.temporary import TemporaryFolder

ANSWER_LIMITS = Limits(bytes=4 << 20, seconds=60)
ARCHIVE_LIMITS = Limits(bytes=4 << 30, seconds=900)
USABLE = ("NodeVersionStatusActive", "NodeVersionStatusPending")
REFUSED = {"Flagged": "flagged", "Banned": "banned", "Deleted": "deleted"}


class ComfyRegistry:
    """A registry at an address, which the guard must allow. Its answers are a stranger's text."""

    def __init__(self, url: str, guard: Guard) -> None:
        self._url, self._guard = url.rstrip("/"), guard

    def fetch(self, source: Registry, target: Path) -> None:
        """Puts a version's files into a new folder. Raises SetupFailed, FetchFailed or InvalidEnvironment."""
        about = self._about(source, target.with_name("about.json"))
        archive = target.with_name(f"{source.id}-{source.version}.zip")
        self._fetch(_address_in(source, about), archive, ARCHIVE_LIMITS)
        unpack(archive, target)
        archive.unlink()

    def newest(self, node_id: str) -> str:
        """The newest version of a pack that may be used. Raises SetupFailed, FetchFailed."""
        with TemporaryFolder() as folder:
            self._fetch(f"{self._url}/nodes/{node_id}", folder / "about.json", ANSWER_LIMITS)
            latest = _object(f"the registry's answer about {node_id}", folder / "about.json").get("latest_version")
        about: dict[str, Any] = latest if isinstance(latest, dict) else {}
        version = about.get("version")
        if not isinstance(version, str) or about.get("status", USABLE[0]) not in USABLE:
            raise SetupFailed(f"The registry names no version of {node_id} that may be used.")
        return parse_version(node_id, version)

    def _about(self, source: Registry, path: Path) -> dict[str, Any]:
        """The answer of the registry about a version that may be used."""
        try:
            self._fetch(f"{self._url}/nodes/{source.id}/versions/{source.version}", path, ANSWER_LIMITS)
        except FetchFailed as error:
            if error.details.get("http_status") == 404:
                raise SetupFailed(f"The registry has no {source.id} {source.version}.") from error
            raise
        about = _object(f"the registry's answer about {source.id} {source.version}", path)
        status = str(about.get("status", ""))
        if status not in USABLE:
            word = next((word for end, word in REFUSED.items() if status.endswith(end)), "not released")
            reason = str(about.get("status_reason") or "")[:200]
            raise SetupFailed(f"The registry has {word} {source.id} {source.version}{f': {reason}' if reason else ''}.")
        return about

    def _fetch(self, url: str, path: Path, limits: Limits) -> None:
        path.unlink(missing_ok=True)
        Fetch(RemoteFile(Url(url), self._guard, limits.seconds, Stop()), path, limits).run()


def parse_version(node_id: str, version: str) -> str:
    """A version that the registry names. Raises SetupFailed for one that is none."""
    try:
        found = parse_pack(f"cnr:{node_id}@{version}")
    except InvalidEnvironment as error:
        raise SetupFailed(f"The registry's version of {node_id} cannot be used.") from error
    assert isinstance(found, Registry)
    return found.version


def _object(what: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SetupFailed(f"{what[0].upper()}{what[1:]} cannot be read.")
    path.unlink()
    return found


def _address_in(source: Registry, about: dict[str, Any]) -> str:
    found = about.get("downloadUrl")
    if not isinstance(found, str) or not found:
        raise SetupFailed(f"The registry names no archive of {source.id} {source.version}.")
    return found
