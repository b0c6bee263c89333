"""Specs of environments, changed in the same way by the API, pages and commands."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from comfyward.environments.spec import Spec, checked, parse_spec, spec_toml
from comfyward.store import environments


def change(conn: Connection, name: str, edit: Callable[[Spec], Spec], now: int) -> None:
    """Changes the spec of an environment.

    Raises NotFound, InvalidEnvironment, or Conflict if it was changed at the same time.
    """
    former = environments.get(conn, name).spec
    environments.change_spec(conn, name, former, spec_toml(checked(edit(parse_spec(former)))), now)


def put(conn: Connection, name: str, spec: Spec, now: int) -> None:
    """Makes an environment with this spec, or gives it to the one of that name. Raises Conflict."""
    if any(each.name == name for each in environments.find(conn)):
        change(conn, name, lambda former: spec, now)
    else:
        environments.create(conn, name, spec_toml(spec), now)
