"""A place of environments: the data directory of this machine, or a server. Commands are the same for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from comfyward.environments.reference import Reference


@dataclass(frozen=True)
class Made:
    """A revision that a command has made, or found to be up to date. `changes` are those since the one before."""

    reference: Reference
    digest: str
    is_new: bool
    changes: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Proposed:
    """The changes of an update, and newer releases of ComfyUI that it has not. `made` is None if there are changes."""

    changes: Sequence[Mapping[str, Any]]
    offers: Sequence[Mapping[str, str]]
    notes: Sequence[str]
    made: Made | None


def becomes_current(revision: Reference) -> str:
    """The sentence on a promotion that waits for the trial of a revision that was made for it."""
    return f"{revision} becomes current once its trial is good: 'comfyward environments show' tells how far."


class Place(Protocol):
    """Environments as commands see them. Errors are those of the API: NotFound, Conflict, InvalidEnvironment …"""

    def all(self) -> list[dict[str, Any]]:
        """Every environment as `shown` shows it."""

    def shown(self, name: str) -> dict[str, Any]:
        """An environment with its revisions, and their states at every host. Times are text."""

    def remarks(self, name: str) -> list[str]:
        """Lines about what packs ask for and the newest revision does not do, where that is known."""

    def create(self, name: str, comfyui: str) -> str:
        """Returns ComfyUI's source."""

    def add(self, name: str, sources: Sequence[str]) -> list[str]:
        """Adds packs by source or path. Returns their sources."""

    def remove(self, name: str, packs: Sequence[str]) -> None: ...

    def allow_scripts(self, name: str, packs: Sequence[str], *, is_allowed: bool) -> None:
        """Allows the scripts of packs in the editor from the next revision on, or not any more."""

    def lock(self, name: str, *, is_again: bool = False) -> Made:
        """Makes the next revision if the spec was changed since the newest, or if newer packages are wanted."""

    def update(self, name: str, comfyui: str) -> Proposed:
        """Looks for newer versions of everything."""

    def accept(self, name: str) -> Reference:
        """Makes the revision that the last update proposed."""

    def difference(self, before: Reference | None, after: Reference) -> dict[str, Any]:
        """The changes of a revision, by default since the one before it."""

    def ask_to_try(self, reference: Reference) -> Reference:
        """Has workers try a revision, by default the newest, which is locked first if anything was changed."""

    def unmark(self, name: str, workflow: str) -> None:
        """Takes a workflow, of any account, out of an environment's trials."""

    def learn(self, name: str, hosts: Sequence[str], graph: Mapping[str, Any] | None) -> None:
        """Has a worker find out which files packs of the newest revision fetch."""

    def learning(self, name: str) -> dict[str, Any]:
        """The last learning, with what was found."""

    def cancel_learning(self, name: str) -> None: ...

    def accept_files(self, name: str) -> None:
        """Takes the files that were found into the spec, if their address is known."""

    def promote(self, reference: Reference, *, without_trial: bool) -> tuple[str, list[str]]:
        """Returns (a sentence that says what was done, warnings).

        The newest revision is made and tried first if the spec was changed, unless it is `without_trial`.
        """

    def roll_back(self, name: str) -> Reference: ...

    def delete(self, name: str) -> None: ...

    def export(self, reference: Reference, form: str) -> tuple[bytes, Sequence[str]]:
        """(content, what the form cannot hold). Forms are spec, lock, manager, cpack."""

    def import_file(self, name: str, content: bytes) -> tuple[dict[str, Any], Sequence[str]]:
        """(the environment as shown, what does not come along)."""

    def import_folder(self, name: str, folder: Path) -> tuple[dict[str, Any], Sequence[str]]:
        """The same of a folder with a ComfyUI."""
