"""The difference of two revisions: content, node classes, and the workflows that are concerned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch import promotions
from comfyward.environments.difference import Change, changes_between, script_changes
from comfyward.environments.lock import Lock, parse_lock
from comfyward.environments.reference import Reference
from comfyward.environments.target import TARGET
from comfyward.environments.web_files import is_script
from comfyward.errors import NotFound
from comfyward.store import catalogs, environments, web_files, workflows
from comfyward.store.workflows import Saved
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.class_changes import ClassChanges, class_changes, used_in

MAX_WORKFLOWS, LONGEST_GRAPH = 2000, 512 << 10
MOST_OF_ACCOUNT = 8 << 20  # characters of graphs
MAX_NAMED = 3


@dataclass(frozen=True)
class Concerned:
    """A saved workflow that uses classes that go, or whose inputs change."""

    id: str
    name: str
    owner: str
    lost: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """The changes of a revision since another one, or, without one, all that it has.

    `classes` is None if a worker has not had both of them ready. `workflows` are those that follow the environment. The
    scripts for the editor are among the changes if `knows_scripts`: a worker has tried both.
    """

    before: Reference | None
    after: Reference
    changes: tuple[Change, ...]
    classes: ClassChanges | None = None
    workflows: tuple[Concerned, ...] = ()
    knows_scripts: bool = False

    def shown(self) -> dict[str, Any]:
        """It as JSON shows it."""
        return {
            "before": self.before and str(self.before),
            "after": str(self.after),
            "changes": [vars(change) for change in self.changes],
            "classes": self.classes
            and {
                "gained": self.classes.gained,
                "lost": self.classes.lost,
                "inputs": [vars(each) for each in self.classes.inputs],
            },
            "workflows": [vars(each) for each in self.workflows],
            "knows_scripts": self.knows_scripts,
        }

    def losses(self) -> list[str]:
        """Sentences on what workflows lose, for whoever makes the revision current."""
        losing = [each for each in self.workflows if each.lost]
        if not losing:
            return []
        classes = sorted({name for each in losing for name in each.lost})
        use = "workflow uses" if len(losing) == 1 else "workflows use"
        owners = ", ".join(f"'{each.name}' of {each.owner}" for each in losing[:MAX_NAMED])
        more = f" and {len(losing) - MAX_NAMED} more" if len(losing) > MAX_NAMED else ""
        goes = "a class that goes" if len(classes) == 1 else f"{len(classes)} classes that go"
        return [f"{len(losing)} {use} {goes} with {self.after}, {', '.join(classes)}: {owners}{more}."]


def of(conn: Connection, after: Reference, before: Reference | None = None) -> Difference:
    """The changes of a revision since another one, by default the one before it; without a number, the newest is meant.

    Raises NotFound, also if no target has locks of both.
    """
    numbered = promotions.numbered(conn, after)
    former = _before(conn, numbered) if before is None else promotions.numbered(conn, before)
    return _difference(conn, former, numbered)


def since_current(conn: Connection, revision: Reference) -> Difference | None:
    """The changes if a revision were promoted, by default the newest.

    None for the current one, and where nothing is known: none is current, or of other platforms. Raises NotFound.
    """
    numbered, current = promotions.numbered(conn, revision), environments.get(conn, revision.name).current
    if not current or current == numbered.number:
        return None
    try:
        return _difference(conn, Reference(revision.name, current), numbered)
    except NotFound:
        return None


def since_before(conn: Connection, revision: Reference) -> tuple[Change, ...]:
    """The changes since the revision before, without those of classes and workflows.

    Everything is new if there is none, or if that is of other platforms. Raises NotFound.
    """
    before = _before(conn, revision)
    targets = _targets(conn, revision)
    both = _targets(conn, before) & targets if before else frozenset[str]()
    former = _lock(conn, before, both) if before and both else None
    changes, _ = _changes(conn, former, _lock(conn, revision, both or targets))
    return changes


def losses(conn: Connection, revision: Reference) -> list[str]:
    """Sentences to know before a revision becomes current: what the workflows of its environment lose.

    Raises NotFound.
    """
    found = since_current(conn, revision)
    return found.losses() if found else []


def lock_of(conn: Connection, reference: Reference) -> Lock:
    """The lock of a revision for this host's target, else for another one. Raises NotFound."""
    return _lock(conn, reference, _targets(conn, reference))


def _difference(conn: Connection, before: Reference | None, after: Reference) -> Difference:
    """Both have numbers; they may be of two environments."""
    if before is None:
        lock = lock_of(conn, after)
        changes, knows_scripts = _changes(conn, None, lock)
        return Difference(None, after, changes, knows_scripts=knows_scripts)
    targets = _targets(conn, before) & _targets(conn, after)
    if not targets:
        raise NotFound(f"{before} and {after} are locked for different platforms.")
    locks = _lock(conn, before, targets), _lock(conn, after, targets)
    classes = _classes(conn, *(lock.digest for lock in locks))
    saved = workflows.following(conn, after.name, MAX_WORKFLOWS, LONGEST_GRAPH) if classes else ()
    concerned = tuple(_concerned(saved, classes)) if classes else ()
    changes, knows_scripts = _changes(conn, *locks)
    return Difference(before, after, changes, classes, concerned, knows_scripts)


def _before(conn: Connection, after: Reference) -> Reference | None:
    """The revision before one; None for the first."""
    assert after.number is not None
    earlier = [each.number for each in environments.revisions(conn, after.name) if each.number < after.number]
    return Reference(after.name, max(earlier)) if earlier else None


def _changes(conn: Connection, before: Lock | None, after: Lock) -> tuple[tuple[Change, ...], bool]:
    """(the changes, True if those of scripts for the editor are known and among them)."""
    changes = changes_between(before, after)
    former, scripts = {} if before is None else _scripts(conn, before), _scripts(conn, after)
    if former is None or scripts is None:
        return tuple(changes), False
    return (*changes, *script_changes(former, scripts)), True


def _scripts(conn: Connection, lock: Lock) -> dict[str, str] | None:
    """The scripts that packs bring for the editor, by their path; None before a worker has tried them."""
    files = web_files.listed(conn, lock.digest)
    return None if files is None else {file.path: str(file) for file in files if is_script(file.path)}


def _classes(conn: Connection, before: str, after: str) -> ClassChanges | None:
    found = [catalog_of(conn, digest) for digest in (before, after)]
    return None if found[0] is None or found[1] is None else class_changes(found[0], found[1])


def catalog_of(conn: Connection, environment: str) -> Catalog | None:
    """The catalog of an environment, as workers said last, first those with a token for any pool; None before that."""
    rows = sorted(catalogs.find(conn, environment), key=lambda row: not row.is_shared)
    text = catalogs.body(conn, rows[0].digest) if rows else None
    return None if text is None else Catalog.from_json(msgspec.json.decode(text))


def _concerned(saved: Iterable[Saved], classes: ClassChanges) -> Iterable[Concerned]:
    lost, changed = frozenset(classes.lost), frozenset(each.class_type for each in classes.inputs)
    for each in within_shares(saved):
        used = used_in(each.graph, each.editor_graph)
        if used & (lost | changed):
            yield Concerned(each.id, each.name, each.owner, tuple(sorted(used & lost)), tuple(sorted(used & changed)))


def within_shares(saved: Iterable[Saved]) -> Iterator[Saved]:
    """The first workflows of each account, up to MOST_OF_ACCOUNT: graphs of one keep nobody from the others'."""
    read = Counter[str]()
    for each in saved:
        read[each.owner] += len(each.graph or each.editor_graph or "")
        if read[each.owner] <= MOST_OF_ACCOUNT:
            yield each


def _targets(conn: Connection, reference: Reference) -> frozenset[str]:
    for each in environments.revisions(conn, reference.name):
        if each.number == reference.number:
            return frozenset(each.digests)
    raise environments.no_revision(reference.name, reference.number or 0)


def _lock(conn: Connection, reference: Reference, targets: frozenset[str]) -> Lock:
    """The lock for this host's target, if it is one of these, else for the first of them."""
    assert reference.number is not None
    target = TARGET if TARGET in targets else min(targets)
    return parse_lock(environments.lock_of(conn, reference.name, reference.number, target).text)
