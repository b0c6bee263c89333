"""Environments as files: our own spec and lock, and the forms of other programs, the same for commands and the API."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from comfyward.dispatch import promotions, revision_differences
from comfyward.environments.forms.draft import Lost
from comfyward.environments.forms.writing import exact, written
from comfyward.environments.lock import lock_json
from comfyward.environments.reference import Reference
from comfyward.environments.spec import parse_spec
from comfyward.store import environments

SPEC, LOCK = "spec", "lock"
FILES = {
    SPEC: ("toml", "application/toml"),
    LOCK: ("lock.json", "application/json"),
    "manager": ("snapshot.json", "application/json"),
    "cpack": ("cpack.zip", "application/zip"),
}
"""The ending and the media type of each form."""


def exported(conn: Connection, asked: Reference, form: str) -> tuple[bytes, Sequence[Lost]]:
    """(an environment in a form, what the form cannot hold).

    A revision comes with its commits; without a number it is the spec as it is, and the lock of the newest revision.
    Raises NotFound.
    """
    if form == LOCK:
        lock = revision_differences.lock_of(conn, promotions.numbered(conn, asked))
        return f"{lock_json(lock)}\n".encode(), ()
    text = _spec_of(conn, asked)
    if form == SPEC:
        return text.encode(), ()
    spec = parse_spec(text)
    return written(form, spec if asked.number is None else exact(spec, revision_differences.lock_of(conn, asked)))


def _spec_of(conn: Connection, asked: Reference) -> str:
    if asked.number is None:
        return environments.get(conn, asked.name).spec
    found = [each.spec for each in environments.revisions(conn, asked.name) if each.number == asked.number]
    if not found:
        raise environments.no_revision(asked.name, asked.number)
    return found[0]
