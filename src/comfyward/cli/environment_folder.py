"""Environments in the data directory of this machine: rows of the database, and the workshop that makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from comfyward.api.times import iso
from comfyward.cli.environment_locks import EnvironmentRows, Stored, opened
from comfyward.cli.environment_place import Made, Place, Proposed, becomes_current
from comfyward.cli.steps import showing_steps
from comfyward.cli.tables import moment
from comfyward.environments import index
from comfyward.environments.difference import changes_between
from comfyward.environments.forms import installation, reading
from comfyward.environments.forms.draft import Draft, Drafting
from comfyward.environments.forms.writing import VERSION_OF
from comfyward.environments.reference import Reference
from comfyward.environments.releases import DEFAULT_SOURCE
from comfyward.environments.resolution import not_preferred
from comfyward.environments.source import ComfyUISource, PackSource, checked_name, parse_comfyui, parse_pack
from comfyward.environments.spec import Spec, parse_spec, spec_toml
from comfyward.environments.workshop import Next, Workshop
from comfyward.errors import InvalidEnvironment
from comfyward.store.lockings import LOCK, RELOCK, UPDATE
from comfyward.wording import size


@contextmanager
def opened_folder(data_dir: Path | None) -> Iterator[Place]:
    """The environments of an installation on this machine."""
    with opened(data_dir) as (rows, workshop):
        yield FolderPlace(rows, workshop)


class FolderPlace:
    """The environments in a database, and what is built on this machine."""

    def __init__(self, rows: EnvironmentRows, workshop: Workshop) -> None:
        self._rows, self._workshop = rows, workshop
        self._proposed: tuple[str, Next] | None = None  # of the spec, as it was

    def all(self) -> list[dict[str, Any]]:
        return [self.shown(name) for name in self._rows.names()]

    def shown(self, name: str) -> dict[str, Any]:
        shown = self._rows.overview(name)
        return {**shown, "revisions": [self._shown_revision(revision) for revision in shown["revisions"]]}

    def remarks(self, name: str) -> list[str]:
        newest = self._rows.newest(name)
        return [] if newest is None else list(_remarks(newest))

    def create(self, name: str, comfyui: str) -> str:
        spec = Spec(self._comfyui(comfyui))
        self._rows.create(checked_name(name, "an environment"), spec)
        return str(spec.comfyui)

    def add(self, name: str, sources: Sequence[str]) -> list[str]:
        packs = [self._pack(source) for source in sources]
        index.check(packs)
        self._rows.change(name, lambda spec: spec.with_packs(packs))
        return [str(pack) for pack in packs]

    def remove(self, name: str, packs: Sequence[str]) -> None:
        def change(spec: Spec) -> Spec:
            for pack in packs:
                spec = spec.without_pack(pack)
            return spec

        self._rows.change(name, change)

    def allow_scripts(self, name: str, packs: Sequence[str], *, is_allowed: bool) -> None:
        self._rows.change(name, lambda spec: spec.with_scripts(packs, is_allowed=is_allowed))

    def lock(self, name: str, *, is_again: bool = False) -> Made:
        stored, is_new = self.locked(name, is_again=is_again)
        former = self._rows.before(stored.reference) if is_new else None
        changes = changes_between(former.lock if former else None, stored.lock) if is_new else []
        return Made(stored.reference, stored.lock.digest, is_new, [vars(change) for change in changes])

    def locked(self, name: str, *, is_again: bool = False) -> tuple[Stored, bool]:
        """The newest revision, and True if it was made now, since there was something to lock."""
        spec = self._rows.spec(name)
        start = self._rows.base(name).start(spec_toml(spec), RELOCK if is_again else LOCK)
        lock = start.known
        if lock is None:
            with showing_steps(f"Locking {name}") as show:
                lock = self._workshop.next_of(spec, start.former, None, show).lock
        number, is_new = self._rows.add_revision(name, spec, lock)
        return self._rows.get(Reference(name, number)), is_new

    def update(self, name: str, comfyui: str) -> Proposed:
        spec, base = self._rows.spec_text(Reference(name)), self._rows.base(name)
        with showing_steps(f"Updating {name}") as show:
            found = self._workshop.next_of(parse_spec(spec), base.start(spec, UPDATE).former, comfyui, show)
        self._proposed = (spec, found)
        offers, notes = [vars(offer) for offer in found.update.offers], found.update.notes
        if base.is_same(found.spec_text, found.lock):
            made = Made(Reference(name, base.number), found.lock.digest, False, [])
            return Proposed([], offers, notes, made)
        return Proposed([vars(each) for each in changes_between(base.lock, found.lock)], offers, notes, None)

    def accept(self, name: str) -> Reference:
        assert self._proposed is not None
        spec, found = self._proposed
        return Reference(name, self._rows.add_updated(name, spec, found.spec_text, found.lock))

    def difference(self, before: Reference | None, after: Reference) -> dict[str, Any]:
        return self._rows.difference(before, after)

    def ask_to_try(self, reference: Reference) -> Reference:
        if reference.number is None:
            reference = self.locked(reference.name)[0].reference
        return self._rows.ask_to_try(reference)

    def unmark(self, name: str, workflow: str) -> None:
        self._rows.unmark(name, workflow)

    def learn(self, name: str, hosts: Sequence[str], graph: Mapping[str, Any] | None) -> None:
        self._rows.learn(Reference(name), hosts, graph)

    def learning(self, name: str) -> dict[str, Any]:
        return self._rows.learning(name)

    def cancel_learning(self, name: str) -> None:
        self._rows.cancel_learning(name)

    def accept_files(self, name: str) -> None:
        self._rows.accept_files(name)

    def promote(self, reference: Reference, *, without_trial: bool) -> tuple[str, list[str]]:
        if self._rows.is_to_be_locked(reference, needs_trial=not without_trial):
            made = self._rows.promote_when_ready(self.locked(reference.name)[0].reference)
            return becomes_current(made), []
        losses = self._rows.losses(reference)
        current = self._rows.promote(reference, needs_trial=not without_trial)
        return f"{current} is current.", [*losses, *self._rows.warnings(current)]

    def roll_back(self, name: str) -> Reference:
        return self._rows.roll_back(name)

    def delete(self, name: str) -> None:
        self._rows.delete(name)

    def export(self, reference: Reference, form: str) -> tuple[bytes, Sequence[str]]:
        content, lost = self._rows.exported(reference, form)
        return content, [str(each) for each in lost]

    def import_file(self, name: str, content: bytes) -> tuple[dict[str, Any], Sequence[str]]:
        return self._imported(name, reading.read(content, VERSION_OF, DEFAULT_SOURCE))

    def import_folder(self, name: str, folder: Path) -> tuple[dict[str, Any], Sequence[str]]:
        if not installation.is_installation(folder):
            raise InvalidEnvironment(f"There is no ComfyUI in {folder}.", hint="Use the folder that contains main.py.")
        drafting = Drafting()
        installation.read(folder, self._workshop.sources.add_folder, drafting)
        return self._imported(name, drafting.draft(DEFAULT_SOURCE))

    def _imported(self, name: str, draft: Draft) -> tuple[dict[str, Any], Sequence[str]]:
        self._rows.put(checked_name(name, "an environment"), draft.spec)
        return self.shown(name), [str(each) for each in draft.lost]

    def _pack(self, text: str) -> PackSource:
        return self._workshop.sources.add_folder(Path(text)) if Path(text).exists() else parse_pack(text)

    def _comfyui(self, text: str) -> ComfyUISource:
        return self._workshop.sources.add_folder(Path(text)) if Path(text).exists() else parse_comfyui(text)

    def _shown_revision(self, revision: dict[str, Any]) -> dict[str, Any]:
        """A revision with readable times, and the folder in which it is built on this machine."""
        built = next(filter(None, map(self._workshop.builds.find, revision["targets"].values())), None)
        return {
            **revision,
            "state": "built" if built and revision["state"] == "locked" else revision["state"],
            "created": moment(revision["created_at"]),
            "created_at": iso(revision["created_at"]),
            "asked_at": iso(revision["asked_at"]),
            "hosts": [{**host, "changed_at": iso(host["changed_at"])} for host in revision["hosts"]],
            "path": str(built.path) if built else None,
        }


def _remarks(newest: Stored) -> Iterator[str]:
    for file in newest.lock.files:
        yield f"File: {file.path} ({size(file.size)})"
    for host in newest.lock.egress:
        yield f"May reach: {host}"
    for requirement in newest.lock.forced:
        yield f"Forced: {requirement}"
    for version in not_preferred(newest.spec.prefer, newest.lock.packages):
        yield f"Preferred, but not used: {version}"
    for pack in newest.lock.packs:
        for each in pack.ignored:
            yield f"{pack.folder}: '{each.line}' ({each.where}) has no effect: {each.reason}"
        if pack.install_script:
            yield f"{pack.folder}: has an install.py, which is never run"
