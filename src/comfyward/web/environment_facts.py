"""Facts about environments as their pages show them: from locks, from trials, and from the files of packs."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from comfyward.dispatch import promotions
from comfyward.dispatch.environment_overviews import Overview, read
from comfyward.dispatch.lockings import found_of
from comfyward.environments.lock import Lock, LockedPack, parse_lock
from comfyward.environments.pack_labels import PackLabel, label_of
from comfyward.environments.reference import Reference
from comfyward.environments.source import Git, PackSource, Registry
from comfyward.environments.spec import parse_spec
from comfyward.environments.trees import Trees
from comfyward.errors import Conflict
from comfyward.store import environments, lockings, workers

REMEMBERED = 200
UNTOLD: Mapping[str, Any] = {"imported": False, "error": "", "classes": [], "written": 0}
BUSY = ("building", "trying")
REGISTRY_PAGES = "https://registry.comfy.org/nodes"


@dataclass(frozen=True)
class PackLine:
    """A pack of a spec: what the newest lock has of it, what its files say, and how its import went at each host."""

    name: str
    source: str
    address: str | None  # of its page elsewhere
    locked: LockedPack | None
    label: PackLabel
    imports: Sequence[Mapping[str, Any]]
    scripts: Mapping[str, Any] | None  # for the editor; None before a trial has told
    is_web: bool  # the spec allows them

    @property
    def classes(self) -> int | None:
        """The number of its classes; None before a trial has told."""
        return max((len(each["classes"]) for each in self.imports), default=None)

    @property
    def written(self) -> int:
        """The number of files that it wrote in its own folder in a trial."""
        return max((each["written"] for each in self.imports), default=0)

    @property
    def error(self) -> str | None:
        """The first line of the reason why it did not import."""
        return next((each["error"].partition("\n")[0] for each in self.imports if not each["imported"]), None)


@functools.lru_cache(REMEMBERED)
def lock_of(text: str) -> Lock:
    """A stored lock, parsed once."""
    return parse_lock(text)


def download_bytes(lock: Lock) -> int:
    """The size of its packages as they are downloaded, of the largest wheel of each."""
    return sum(max((wheel.size for wheel in package.wheels), default=0) for package in lock.packages)


def state_of(conn: Connection, name: str, now: int) -> dict[str, Any]:
    """An environment's overview; each revision also has `obstacle`, the reason why it cannot be promoted after a trial,
    and `without`, the pools whose present workers cannot have it. Raises NotFound."""
    found, targets = read(conn, name, now), workers.targets(conn, now - workers.PRESENT_MS)
    shown = found.shown
    for revision in shown["revisions"]:
        revision["obstacle"] = _obstacle(conn, Reference(name, revision["number"]), revision["targets"], found)
        revision["without"] = sorted(pool for pool, has in targets.items() if not has.keys() & revision["targets"])
        revision["busy"] = [host for host in revision["hosts"] if host["is_present"] and host["state"] in BUSY]
    return {**shown, "locking": locking_of(conn, name)}


def locking_of(conn: Connection, name: str) -> Mapping[str, Any] | None:
    """The last making of a revision by a server, with what it found; None before the first."""
    latest = lockings.latest(conn, name)
    if latest is None:
        return None
    found = found_of(latest)
    told = {key: getattr(found, key) if found else () for key in ("changes", "offers", "notes")}
    return {**vars(latest), **told, "is_unfinished": latest.finished_at is None}


def locks_of(conn: Connection, name: str, revision: Mapping[str, Any]) -> dict[str, Lock]:
    """The locks of a revision by target."""
    number = revision["number"]
    return {target: lock_of(environments.lock_of(conn, name, number, target).text) for target in revision["targets"]}


async def pack_lines(text: str, lock: Lock | None, revision: Mapping[str, Any] | None, trees: Trees) -> list[PackLine]:
    """The packs of a spec, in its order, with what a revision's lock and trials have of them."""
    spec, imports, scripts = parse_spec(text), _imports_of(revision), _scripts_of(revision)
    locked = {key: pack for pack in (lock.packs if lock else ()) for key in (pack.folder.casefold(), pack.source)}
    lines = []
    for source in spec.packs:
        pack = locked.get(str(source)) or locked.get(source.name.casefold())
        label = await asyncio.to_thread(_label_in, trees.path(pack.tree)) if pack else PackLabel()
        found = imports.get(pack.folder, []) if pack else []
        of_editor = scripts.get(pack.folder) if pack else None
        what = (pack, label, found, of_editor, spec.allows_web(source))
        lines.append(PackLine(source.name, str(source), _address(source), *what))
    return lines


def _imports_of(revision: Mapping[str, Any] | None) -> dict[str, list[Mapping[str, Any]]]:
    """The imports of each pack at hosts, by its folder."""
    imports: dict[str, list[Mapping[str, Any]]] = {}
    for host in revision["hosts"] if revision else ():
        for told in host["packs"]:
            imports.setdefault(told["folder"], []).append({**UNTOLD, **told})
    return imports


def _scripts_of(revision: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """The scripts that packs bring for the editor, by the folder of the pack."""
    scripts = (revision["scripts"] or ()) if revision else ()
    return {each["pack"]: each for each in scripts}


def _label_in(folder: Path) -> PackLabel:
    return _label(folder) if folder.is_dir() else PackLabel()


@functools.lru_cache(REMEMBERED)
def _label(folder: Path) -> PackLabel:
    """The files of a tree never change."""
    return label_of(folder)


def _obstacle(conn: Connection, revision: Reference, digests: Mapping[str, str], found: Overview) -> str | None:
    try:
        promotions.check_is_ready(conn, revision, digests, found.crews, found.present)
    except Conflict as error:
        return error.message
    return None


def _address(source: PackSource) -> str | None:
    match source:
        case Git():
            return source.url
        case Registry():
            return f"{REGISTRY_PAGES}/{source.id}"
        case _:
            return None
