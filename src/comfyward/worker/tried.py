"""The trials of environments that succeeded on this host, beside the builds: a worker that starts again finds them.

A trial holds for the version of comfyward, the sandbox and the device that it was made with.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import blake3
import msgspec

from comfyward.sandbox.removal import remove_tree
from comfyward.worker.environment_reports import Trial

_NAME = re.compile(r"([0-9a-f]{64})-([0-9a-f]{16})")


@dataclass(frozen=True)
class Kept:
    """A trial, and what was read in it: the catalog, with its digest, and the archive of the packs' web files."""

    trial: Trial
    catalog_digest: str
    catalog: bytes
    web_files: bytes


class Tried:
    """The folder of trials. `circumstances` are what a trial depends on beside the environment."""

    def __init__(self, folder: Path, circumstances: tuple[str, ...]) -> None:
        self._folder = folder
        self._key = blake3.blake3(msgspec.json.encode(circumstances)).hexdigest()[:16]

    def all(self) -> list[str]:
        """The environments that were tried with success, the last first."""
        found = [(_changed_at(path), _NAME.fullmatch(path.name)) for path in self._folder.glob(f"*-{self._key}")]
        return [match[1] for _, match in sorted(found, key=lambda each: each[0], reverse=True) if match]

    def find(self, environment: str) -> Kept | None:
        """The trial of an environment; None if there is none, or another process has just removed it."""
        folder = self._place(environment)
        try:
            trial = msgspec.json.decode((folder / "trial.json").read_bytes(), type=Trial)
            catalog = (folder / "catalog.json").read_bytes()
            web_files = (folder / "web_files").read_bytes()
        except (OSError, msgspec.DecodeError):
            return None
        return Kept(trial, blake3.blake3(catalog).hexdigest(), catalog, web_files)

    def keep(self, environment: str, kept: Kept) -> None:
        """Stores a trial, in one step. Raises OSError."""
        fresh = self._folder / f".{secrets.token_hex(8)}"
        fresh.mkdir(parents=True)
        try:
            (fresh / "trial.json").write_bytes(msgspec.json.encode(kept.trial))
            (fresh / "catalog.json").write_bytes(kept.catalog)
            (fresh / "web_files").write_bytes(kept.web_files)
            self.remove(environment)
            os.rename(fresh, self._place(environment))
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # another worker of this host has just tried it too
                raise
        finally:
            remove_tree(fresh)

    def remove(self, environment: str) -> None:
        """Removes the trial of an environment, if there is one."""
        remove_tree(self._place(environment))

    def beside(self, environment: str) -> Path:
        """The path of what else is kept of an environment under these circumstances, with a suffix of its own."""
        return self._place(environment)

    def _place(self, environment: str) -> Path:
        return self._folder / f"{environment}-{self._key}"


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # another worker has just removed it
        return 0
