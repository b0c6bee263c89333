"""The Comfy Registry's word on the pack that has a class. Its answers are a stranger's text, and remembered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from comfyward.environments.finding.notes import source_or_none
from comfyward.environments.source import PackSource
from comfyward.errors import FetchFailed
from comfyward.files.fetch import Fetch, Limits
from comfyward.files.guard import Guard
from comfyward.files.remote_file import RemoteFile
from comfyward.files.stop import Stop
from comfyward.runs.files import Url
from comfyward.sandbox.temporary import TemporaryFolder
from comfyward.workflows.offer import Confidence, Offer, Origin

MAX_BYTES = 1 << 20
MAX_ASKED = 30  # classes in one question
MAX_REMEMBERED = 10_000
KNOWN_S, UNKNOWN_S, SILENT_S = 24 * 3600.0, 3600.0, 600.0
CONNECTIONS = 8
REFUSED = ("Banned", "Deleted", "Flagged")


@dataclass(frozen=True)
class _Remembered:
    offer: Offer | None
    until: float


UNKNOWN = (400, 403, 404, 405, 406, 414, 422)  # of a name: it says nothing about the registry


class RegistryAnswers:
    """Asks a registry, which the guard must allow, and remembers what it said.

    One that did not answer is left alone for ten minutes.
    """

    def __init__(self, url: str, guard: Guard, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._guard, self._clock = url.rstrip("/"), guard, clock
        self._remembered: dict[str, _Remembered] = {}
        self._silent_until = float("-inf")
        self._changing = threading.Lock()

    @property
    def is_silent(self) -> bool:
        """True if it is not asked: it did not answer lately, or there is none."""
        return not self._url or self._clock() < self._silent_until

    def known(self, name: str) -> Offer | None:
        """The remembered answer about a class; None if there is none."""
        found = self._found(name)
        return None if found is None else found.offer

    def ask(self, names: Sequence[str], patience_s: float) -> None:
        """Asks about the classes of which nothing is remembered, all at once, for at most so many seconds."""
        asked = self.unasked(names)
        if not asked:
            return
        with TemporaryFolder() as folder, ThreadPoolExecutor(CONNECTIONS) as threads:
            by = time.monotonic() + patience_s
            for number, name in enumerate(asked):
                threads.submit(self._ask, name, folder / f"{number}.json", by, patience_s / 2)

    def unasked(self, names: Sequence[str]) -> list[str]:
        """The classes about which it would be asked."""
        if self.is_silent:
            return []
        return [name for name in dict.fromkeys(names) if self._found(name) is None][:MAX_ASKED]

    def _found(self, name: str) -> _Remembered | None:
        """The memory of a class; None if it was never asked for, or too long ago."""
        found = self._remembered.get(name)
        return found if found is not None and self._clock() < found.until else None

    def _ask(self, name: str, path: Path, by: float, fair_s: float) -> None:
        """It counts as silent if it fails, or does not answer in the time that is left, which is at least `fair_s`."""
        left_s = by - time.monotonic()
        if left_s <= 0 or self.is_silent:
            return
        url = f"{self._url}/comfy-nodes/{quote(name, safe='')}/node"
        try:
            Fetch(RemoteFile(Url(url), self._guard, left_s, Stop()), path, Limits(MAX_BYTES, left_s)).run()
        except FetchFailed as error:
            if error.details.get("http_status") in UNKNOWN:
                self._remember(name, None)
            elif left_s >= fair_s or time.monotonic() < by:
                self._silent_until = self._clock() + SILENT_S
            return
        self._remember(name, _offer_in(path))

    def _remember(self, name: str, offer: Offer | None) -> None:
        until = self._clock() + (KNOWN_S if offer else UNKNOWN_S)
        with self._changing:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[name] = _Remembered(offer, until)


def _offer_in(path: Path) -> Offer | None:
    """The pack in an answer; None for one that cannot be read, and for a pack that the registry has withdrawn."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or str(found.get("status", "")).endswith(REFUSED):
        return None
    source = _source_in(found)
    return None if source is None else Offer(source.name, Origin.REGISTRY, Confidence.LIKELY, str(source))


def _source_in(found: dict[str, Any]) -> PackSource | None:
    """The newest version, if it may be used, else the repository."""
    newest = found.get("latest_version")
    if isinstance(newest, dict) and not str(newest.get("status", "")).endswith(REFUSED):
        source = source_or_none(f"cnr:{found.get('id')}@{newest.get('version')}")
        if source is not None:
            return source
    return source_or_none(f"git+{found.get('repository')}@HEAD")
