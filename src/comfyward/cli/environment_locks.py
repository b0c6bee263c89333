"""Environments as commands see them: rows of the database, read into specs and locks."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyward.cli.database import open_database
from comfyward.cli.options import settings_from
from comfyward.dispatch import exports, learnings, promotions, revision_differences, revision_locking, specs
from comfyward.dispatch.environment_overviews import overview, promotes_the_next
from comfyward.dispatch.revision_locking import Base
from comfyward.environments.fetching import Fetching
from comfyward.environments.forms.draft import Lost
from comfyward.environments.lock import Lock, parse_lock
from comfyward.environments.reference import Reference
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.source import Folder
from comfyward.environments.spec import Spec, parse_spec, spec_toml
from comfyward.environments.target import TARGET
from comfyward.environments.workshop import Workshop
from comfyward.errors import NotFound
from comfyward.files.guard import Guard
from comfyward.store import environments, rehearsals
from comfyward.store import learnings as stored_learnings
from comfyward.store.db import Database, now_ms
from comfyward.store.environments import Revision
from comfyward.wording import did_you_mean


@dataclass(frozen=True)
class Stored:
    """A revision with its lock for this host's target."""

    reference: Reference
    spec: Spec
    text: str

    @property
    def lock(self) -> Lock:
        return parse_lock(self.text)


class EnvironmentRows:
    """The environments in a database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def names(self) -> list[str]:
        return [each.name for each in asyncio.run(self._db.read(environments.find))]

    def create(self, name: str, spec: Spec) -> None:
        """Raises Conflict if the name is taken."""
        asyncio.run(self._db.write(specs.create, name, spec, now_ms()))

    def spec(self, name: str) -> Spec:
        """Raises NotFound."""
        return parse_spec(self._get(name).spec)

    def change(self, name: str, change: Callable[[Spec], Spec]) -> None:
        """Changes the spec. Raises NotFound, InvalidEnvironment, or Conflict if it was changed at the same time."""
        asyncio.run(self._db.write(specs.change, self._get(name).name, change, now_ms()))

    def put(self, name: str, spec: Spec) -> None:
        """Makes an environment with this spec, or gives it to the one of that name."""
        asyncio.run(self._db.write(specs.put, name, spec, now_ms()))

    def delete(self, name: str) -> None:
        asyncio.run(self._db.write(environments.delete_named, self._get(name).name))

    def revisions(self, name: str) -> list[Revision]:
        """The newest first. Raises NotFound."""
        return asyncio.run(self._db.read(environments.revisions, self._get(name).name))

    def base(self, name: str) -> Base:
        """The newest revision, with which the next one is compared. Raises NotFound."""
        return asyncio.run(self._db.read(revision_locking.base_of, self._get(name).name))

    def add_revision(self, name: str, spec: Spec, lock: Lock) -> tuple[int, bool]:
        """(the number of the revision, True if it is new: the newest has another spec or content)."""
        return asyncio.run(self._db.write(revision_locking.add, name, spec_toml(spec), lock, now_ms()))

    def add_updated(self, name: str, former: str, spec: str, lock: Lock) -> int:
        """Changes a spec that was read before, and adds the revision, whose number is returned. Raises Conflict."""
        number, _ = asyncio.run(self._db.write(revision_locking.add_updated, name, former, spec, lock, now_ms()))
        return number

    def losses(self, reference: Reference) -> list[str]:
        """Sentences on what workflows lose before a revision becomes current. Raises NotFound."""
        self._get(reference.name)
        return asyncio.run(self._db.read(revision_differences.losses, reference))

    def difference(self, before: Reference | None, after: Reference) -> dict[str, Any]:
        """The changes of a revision, by default since the one before it. Raises NotFound."""
        for each in filter(None, (before, after)):
            self._get(each.name)
        return asyncio.run(self._db.read(revision_differences.of, after, before)).shown()

    def overview(self, name: str) -> dict[str, Any]:
        """An environment with its revisions, and their states at every host. Raises NotFound."""
        return asyncio.run(self._db.read(overview, self._get(name).name, now_ms()))

    def ask_to_try(self, reference: Reference) -> Reference:
        """Asks workers to build and try a revision, which is returned with its number. Raises NotFound."""
        self._get(reference.name)
        return Reference(reference.name, asyncio.run(self._db.write(promotions.ask_to_try, reference, now_ms())))

    def unmark(self, name: str, workflow: str) -> None:
        """Takes a workflow out of the trials. Raises NotFound."""
        asyncio.run(self._db.write(rehearsals.unmark, self._get(name).name, workflow))

    def learn(self, reference: Reference, hosts: Sequence[str], workflow: Mapping[str, Any] | None) -> None:
        """As `learnings.begin`, of the newest revision."""
        self._get(reference.name)
        graph = asyncio.run(self._db.read(learnings.executable, reference, workflow))
        asyncio.run(self._db.write(learnings.begin, reference, hosts, graph, now_ms()))

    def learning(self, name: str) -> dict[str, Any]:
        """The last learning of an environment. Raises NotFound."""
        return learnings.shown(asyncio.run(self._db.read(stored_learnings.latest, name)))

    def cancel_learning(self, name: str) -> None:
        """Raises NotFound."""
        asyncio.run(self._db.write(stored_learnings.cancel, name, now_ms()))

    def accept_files(self, name: str) -> None:
        """Takes the files that were found into the spec. Raises NotFound, Conflict, InvalidEnvironment."""
        asyncio.run(self._db.write(learnings.accept, name, None, now_ms()))

    def promote(self, reference: Reference, *, needs_trial: bool) -> Reference:
        """Makes a revision current, which is returned with its number. Raises NotFound, Conflict."""
        self._get(reference.name)
        promote = functools.partial(promotions.promote, needs_trial=needs_trial)
        return Reference(reference.name, asyncio.run(self._db.write(promote, reference, now_ms())))

    def warnings(self, reference: Reference) -> list[str]:
        """Sentences about the pools whose workers cannot have a revision. Raises NotFound."""
        return asyncio.run(self._db.read(promotions.warnings, reference, now_ms()))

    def is_to_be_locked(self, reference: Reference, *, needs_trial: bool) -> bool:
        """True if a promotion first makes the next revision. Raises NotFound."""
        self._get(reference.name)
        return asyncio.run(self._db.read(promotes_the_next, reference, needs_trial))

    def promote_when_ready(self, reference: Reference) -> Reference:
        """Asks for a trial of a revision, with which it becomes current if it is good. Raises NotFound."""
        asyncio.run(self._db.write(promotions.try_and_promote, reference, now_ms()))
        return reference

    def exported(self, reference: Reference, form: str) -> tuple[bytes, Sequence[Lost]]:
        """As `exports.exported`."""
        self._get(reference.name)
        return asyncio.run(self._db.read(exports.exported, reference, form))

    def roll_back(self, name: str) -> Reference:
        """Makes the former revision current, which is returned. Raises NotFound, Conflict."""
        return Reference(name, asyncio.run(self._db.write(environments.roll_back, self._get(name).name, now_ms())))

    def newest(self, name: str) -> Stored | None:
        """The newest revision; None if there is none, or if it is for other hosts than this. Raises NotFound."""
        number = self._get(name).newest
        try:
            return self._stored(name, number) if number else None
        except NotFound:
            return None

    def before(self, reference: Reference) -> Stored | None:
        """The revision before one; None if it is the first."""
        assert reference.number is not None
        return self._stored(reference.name, reference.number - 1) if reference.number > 1 else None

    def get(self, reference: Reference) -> Stored:
        """A revision, the newest one if no number is given. Raises NotFound."""
        self._get(reference.name)
        return self._stored(reference.name, asyncio.run(self._db.read(promotions.number_of, reference)))

    def spec_text(self, reference: Reference) -> str:
        """The spec of a revision, or, without a number, the one that the next revision will have."""
        if reference.number is None:
            return self._get(reference.name).spec
        return spec_toml(self._stored(reference.name, reference.number).spec)

    def kept(self, count: int) -> tuple[frozenset[str], frozenset[str]]:
        """(digests in use and of the newest revisions of each environment, trees that any revision or spec names)."""
        seen: dict[str, int] = {}
        digests = asyncio.run(self._db.read(environments.needed))
        trees = {source.tree for source in self._folders()}
        for name, number, stored in asyncio.run(self._db.read(environments.locks)):
            lock = parse_lock(stored.text)
            trees |= {lock.comfyui.tree, *(pack.tree for pack in lock.packs)}
            if number > seen.setdefault(name, number) - count:
                digests.add(stored.digest)
        return frozenset(digests), frozenset(trees)

    def _folders(self) -> list[Folder]:
        specs = [parse_spec(each.spec) for each in asyncio.run(self._db.read(environments.find))]
        return [each for spec in specs for each in (spec.comfyui, *spec.packs) if isinstance(each, Folder)]

    def _stored(self, name: str, number: int) -> Stored:
        found = asyncio.run(self._db.read(environments.lock_of, self._get(name).name, number, TARGET))
        spec = next(each.spec for each in self.revisions(name) if each.number == number)
        return Stored(Reference(name, number), parse_spec(spec), found.text)

    def _get(self, name: str) -> environments.Environment:
        found = {each.name: each for each in asyncio.run(self._db.read(environments.find))}
        if name not in found:
            hint = did_you_mean(name, found, "'comfyward environments list' shows them.")
            raise NotFound(f"There is no environment '{name}'.", hint=hint)
        return found[name]


@contextmanager
def opened(data_dir: Path | None) -> Iterator[tuple[EnvironmentRows, Workshop]]:
    """The environments of an installation, and the workshop of this host."""
    settings = settings_from(data_dir=data_dir)
    registry = ComfyRegistry(settings.node_registry_url, Guard.allowing(settings.fetch_allow))
    with open_database(data_dir) as db:
        workshop = Workshop.below(settings.derived_environments_dir(), registry, Fetching.of(settings))
        yield EnvironmentRows(db), workshop
