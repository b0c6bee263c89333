"""Overviews of environments: their revisions, and the state of each at every host."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch import promotions
from comfyward.environments.reference import Reference
from comfyward.environments.spec import parse_spec, spec_toml
from comfyward.environments.web_files import is_script
from comfyward.store import environments, rehearsals, trials, web_files, workers
from comfyward.store.environments import Environment, Revision
from comfyward.store.rehearsals import BROKEN, DIFFERENT, UNFINISHED, WAITING, Marked, Rehearsal
from comfyward.store.trials import FAILED, READY, Shown
from comfyward.store.web_files import Listed
from comfyward.store.workers import Crew

MOST_HOSTS = 200  # of a revision
REPORTED = 10  # newest revisions that are shown with what their trials told of each pack; the current one is too


@dataclass(frozen=True)
class Overview:
    """An environment as JSON has it, and what else was read for it: who can try its revisions, and what present workers
    say of them."""

    shown: dict[str, Any]
    crews: Mapping[str, Crew]
    present: Sequence[Shown]


def overview(conn: Connection, name: str, now: int, number: int | None = None) -> dict[str, Any]:
    """An environment with all its revisions, the newest first, or with one alone. Raises NotFound."""
    return read(conn, name, now, number).shown


def read(conn: Connection, name: str, now: int, number: int | None = None) -> Overview:
    """As `overview`, with what it was made of. Raises NotFound."""
    environment, found = environments.get(conn, name), environments.revisions(conn, name)
    changed, present_since = _is_changed(environment, found), now - workers.PRESENT_MS
    if number is not None:
        found = [revision for revision in found if revision.number == number]
    current = [revision for revision in found if revision.number == environment.current]
    reported = _digests_of([*found[:REPORTED], *current])
    shown = trials.of(conn, _digests_of(found), present_since, reported, MOST_HOSTS)
    targets = {target for revision in found for target in revision.digests}
    crews = workers.crews(conn, targets, present_since, now - promotions.POOLS_KNOWN_MS)
    files = {digest: web_files.listed(conn, digest) for digest in reported}
    marked = rehearsals.marked(conn, name)
    rehearsed = _Rehearsed(rehearsals.of(conn, name), marked)
    revisions = [
        {
            **_revision(environment, revision, shown, rehearsed.of(revision)),
            **_builders(revision, crews),
            "scripts": _scripts_of(conn, name, revision, files),
        }
        for revision in found
    ]
    of_environment = {**_environment(environment, marked), "is_changed": changed, "revisions": revisions}
    return Overview(of_environment, crews, [each for each in shown if each.is_present])


def _digests_of(revisions: Iterable[Revision]) -> set[str]:
    return {digest for revision in revisions for digest in revision.digests.values()}


def _environment(environment: Environment, marked: Sequence[Marked]) -> dict[str, Any]:
    """An environment without its revisions."""
    spec = parse_spec(environment.spec)
    return {
        "name": environment.name,
        "comfyui": str(spec.comfyui),
        "packs": [str(pack) for pack in spec.packs],
        "files": [vars(file) for file in spec.files],
        "egress": list(spec.egress),
        "current": environment.current or None,
        "former": msgspec.json.decode(environment.former),
        "auto_promote": environment.auto_promote,
        "in_trials": [{"workflow": each.workflow_id, "name": each.name, "owner": each.owner} for each in marked],
    }


def _builders(revision: Revision, crews: Mapping[str, Crew]) -> dict[str, Any]:
    """A present worker can try a revision, or none, and the pools that could lately, and have no worker now."""
    able = [crews[target] for target in revision.digests]
    here = frozenset[str]().union(*(crew.present for crew in able))
    return {
        "can_be_tried": bool(here),
        "absent_pools": sorted(frozenset[str]().union(*(crew.pools for crew in able)) - here),
    }


def _scripts_of(
    conn: Connection, name: str, revision: Revision, listed: Mapping[str, Sequence[Listed] | None]
) -> list[dict[str, Any]] | None:
    """The web files of a revision, by pack, of those that are `listed` by digest; None if they are not known."""
    for digest in revision.digests.values():
        if (files := listed.get(digest)) is not None:
            allowed = environments.allowed_packs(conn, name, revision.number, digest)
            packs = sorted({file.pack for file in files})
            return [_scripts(pack, [file for file in files if file.pack == pack], pack in allowed) for pack in packs]
    return None


def _scripts(pack: str, files: Sequence[Listed], is_allowed: bool) -> dict[str, Any]:
    scripts = [file for file in files if is_script(file.path)]
    sizes = {"scripts": len(scripts), "script_bytes": sum(file.size for file in scripts), "files": len(files)}
    return {"pack": pack, "is_allowed": is_allowed, **sizes, "bytes": sum(file.size for file in files)}


def is_changed(conn: Connection, name: str) -> bool:
    """True if the spec of an environment is not that of its newest revision. Raises NotFound."""
    return _is_changed(environments.get(conn, name), environments.revisions(conn, name))


def promotes_the_next(conn: Connection, reference: Reference, needs_trial: bool) -> bool:
    """True if a promotion first makes the next revision: the newest is meant, it is to be tried, and the spec was
    changed since. Raises NotFound."""
    return needs_trial and reference.number is None and is_changed(conn, reference.name)


def summary(environment: Environment) -> dict[str, Any]:
    """The name and current revision of an environment, which everybody may know."""
    return {"name": environment.name, "current": environment.current or None}


def _is_changed(environment: Environment, revisions: Sequence[Revision]) -> bool:
    return not revisions or revisions[0].spec != spec_toml(parse_spec(environment.spec))


@dataclass(frozen=True)
class _Rehearsed:
    """The rehearsals of an environment by number, and the workflows that are part of its trials."""

    begun: Mapping[int, Sequence[tuple[Rehearsal, str, str]]]
    marked: Sequence[Marked]

    def of(self, revision: Revision) -> list[dict[str, Any]]:
        """The rehearsals of a revision, also those that a trial will begin."""
        begun = self.begun.get(revision.number, ())
        known = {rehearsal.workflow_id for rehearsal, _, _ in begun}
        waiting = [each for each in self.marked if each.workflow_id not in known] if revision.asked_at else []
        return [*(_rehearsal(*each) for each in begun), *map(_waiting, waiting)]


def _rehearsal(rehearsal: Rehearsal, name: str, owner: str) -> dict[str, Any]:
    return {
        "workflow": rehearsal.workflow_id,
        "name": name,
        "owner": owner,
        "state": rehearsal.state,
        "message": rehearsal.message,
        "difference": rehearsal.difference,
        "former_run": rehearsal.former_run_id or None,
        "run": rehearsal.run_id or None,
    }


def _waiting(marked: Marked) -> dict[str, Any]:
    empty = {"state": WAITING, "message": "", "difference": None, "former_run": None, "run": None}
    return {"workflow": marked.workflow_id, "name": marked.name, "owner": marked.owner, **empty}


def _revision(
    environment: Environment, revision: Revision, shown: Sequence[Shown], rehearsed: list[dict[str, Any]]
) -> dict[str, Any]:
    digests = revision.digests
    here = [each for each in shown if each.trial.digest in digests.values()]
    states = {each["state"] for each in rehearsed}
    return {
        "revision": f"{environment.name}@{revision.number}",
        "number": revision.number,
        "state": "current" if revision.number == environment.current else _state_of(here, states),
        "is_current": revision.number == environment.current,
        "digest": next(iter(digests.values()), ""),
        "targets": dict(digests),
        "created_at": revision.created_at,
        "asked_at": revision.asked_at,
        "hosts": [_at_host(each) for each in here],
        "rehearsals": rehearsed,
    }


def _state_of(shown: Sequence[Shown], rehearsed: Collection[str]) -> str:
    """The state of a revision that is not current: the best of any host, as long as no workflow that is part of its
    trial has failed or is still to be repeated; locked if nobody has begun with it."""
    states = {each.trial.state for each in shown}
    if READY in states and {BROKEN, DIFFERENT} & set(rehearsed):
        return FAILED
    if READY in states and set(UNFINISHED) & set(rehearsed):
        return "trying"
    return next((state for state in (READY, "trying", "building", FAILED) if state in states), "locked")


def _at_host(shown: Shown) -> dict[str, Any]:
    trial = shown.trial
    report: Mapping[str, Any] = msgspec.json.decode(shown.report) if shown.report else {}
    return {
        "host": trial.host,
        "worker": trial.worker_id,
        "pool": shown.pool,
        "target": trial.target,
        "is_present": shown.is_present,
        "state": trial.state,
        "step": trial.step,
        "part": trial.part,
        "message": trial.message,
        "hint": trial.hint,
        "changed_at": trial.changed_at,
        "classes": report.get("classes", 0),
        "start_s": report.get("start_s", 0.0),
        "packs": report.get("packs", []),
        "size": report.get("size", 0),
        "own_size": report.get("own_size", 0),
        "written": report.get("written", 0),
        "writes": report.get("writes", []),
    }
