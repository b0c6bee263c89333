"""Overviews of environments: their revisions, and the state of each at every host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from comfyward.environments.spec import parse_spec, spec_toml
from comfyward.environments.web_files import is_script
from comfyward.store import environments, trials, web_files, workers
from comfyward.store.environments import Environment, Revision
from comfyward.store.trials import FAILED, READY, Shown
from comfyward.store.web_files import Listed

MOST_HOSTS = 200  # of a revision
REPORTED = 10  # newest revisions that are shown with what their trials told of each pack; the current one is too


def overview(conn: Connection, name: str, now: int, number: int | None = None) -> dict[str, Any]:
    """An environment with all its revisions, the newest first, or with one alone. Raises NotFound."""
    environment, found = environments.get(conn, name), environments.revisions(conn, name)
    spec = parse_spec(environment.spec)
    changed = _is_changed(environment, found)
    if number is not None:
        found = [revision for revision in found if revision.number == number]
    digests = {digest for revision in found for digest in revision.digests.values()}
    current = [revision for revision in found if revision.number == environment.current]
    reported = {digest for revision in (*found[:REPORTED], *current) for digest in revision.digests.values()}
    shown = trials.of(conn, digests, now - workers.PRESENT_MS, reported, MOST_HOSTS)
    return {
        "name": name,
        "comfyui": str(spec.comfyui),
        "packs": [str(pack) for pack in spec.packs],
        "is_changed": changed,
        "current": environment.current or None,
        "former": msgspec.json.decode(environment.former),
        "revisions": [
            {**_revision(environment, revision, shown), "scripts": scripts_of(conn, name, revision)}
            for revision in found
        ],
    }


def scripts_of(conn: Connection, name: str, revision: Revision) -> list[dict[str, Any]] | None:
    """The web files of a revision, by pack; None before a worker has tried it."""
    for digest in revision.digests.values():
        files = web_files.listed(conn, digest)
        if files is not None:
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


def summary(environment: Environment) -> dict[str, Any]:
    """The name and current revision of an environment, which everybody may know."""
    return {"name": environment.name, "current": environment.current or None}


def _is_changed(environment: Environment, revisions: Sequence[Revision]) -> bool:
    return not revisions or revisions[0].spec != spec_toml(parse_spec(environment.spec))


def _revision(environment: Environment, revision: Revision, shown: Sequence[Shown]) -> dict[str, Any]:
    digests = revision.digests
    here = [each for each in shown if each.trial.digest in digests.values()]
    return {
        "revision": f"{environment.name}@{revision.number}",
        "number": revision.number,
        "state": "current" if revision.number == environment.current else _state_of(here),
        "is_current": revision.number == environment.current,
        "digest": next(iter(digests.values()), ""),
        "targets": dict(digests),
        "created_at": revision.created_at,
        "asked_at": revision.asked_at,
        "hosts": [_at_host(each) for each in here],
    }


def _state_of(shown: Sequence[Shown]) -> str:
    """The state of a revision that is not current: the best of any host; locked if nobody has begun with it."""
    states = {each.trial.state for each in shown}
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
    }
