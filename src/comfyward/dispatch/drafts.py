"""Drafts: specs of environments with the packs that a workflow wants, before anything is locked."""

from __future__ import annotations

from sqlalchemy import Connection

from comfyward.dispatch import specs
from comfyward.environments.releases import DEFAULT_VERSION, VERSIONS
from comfyward.environments.spec import parse_spec, spec_toml
from comfyward.environments.wanted import Wanted, name_for
from comfyward.store import environments


def draft(
    conn: Connection, wanted: Wanted, into: str, title: str, now: int, *, like: str = "", reuses: bool = False
) -> str:
    """Extends an environment, or makes one with a name after the title. Returns its name.

    A new one starts from the spec of the one that it is `like`. With `reuses`, one that has the same spec is taken.
    Raises NotFound, InvalidEnvironment, or Conflict if it was changed at the same time.
    """
    base = into or like
    former = environments.get(conn, base).spec if base else None
    spec = wanted.spec(parse_spec(former) if former else None, VERSIONS, DEFAULT_VERSION)
    if into and former is not None:
        specs.replace(conn, into, former, spec, now)
        return into
    known = environments.find(conn)
    same = next((each.name for each in known if each.spec == spec_toml(spec)), None)
    if reuses and same is not None:
        return same
    name = name_for(title, [each.name for each in known])
    specs.create(conn, name, spec, now)
    return name
