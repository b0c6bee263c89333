"""Specs of environments, made and changed in the same way by the API, pages and commands."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from comfyward.environments import releases
from comfyward.environments.source import ComfyUISource, Release
from comfyward.environments.spec import Spec, checked, parse_spec, spec_toml
from comfyward.store import environments


def create(conn: Connection, name: str, spec: Spec, now: int) -> None:
    """Makes an environment. Raises Conflict, or InvalidEnvironment for a version of ComfyUI that is not known."""
    _check(spec.comfyui)
    environments.create(conn, name, spec_toml(checked(spec)), now)


def change(conn: Connection, name: str, edit: Callable[[Spec], Spec], now: int) -> None:
    """Changes the spec of an environment.

    Raises NotFound, InvalidEnvironment, or Conflict if it was changed at the same time.
    """
    former = environments.get(conn, name).spec
    replace(conn, name, former, edit(parse_spec(former)), now)


def replace(conn: Connection, name: str, former: str, spec: Spec, now: int) -> None:
    """Replaces the spec that was read before.

    Raises NotFound, InvalidEnvironment, also for a version of ComfyUI that is new and not known, or Conflict if it has
    changed since.
    """
    if spec.comfyui != parse_spec(former).comfyui:
        _check(spec.comfyui)
    environments.change_spec(conn, name, former, spec_toml(checked(spec)), now)


def put(conn: Connection, name: str, spec: Spec, now: int) -> None:
    """Makes an environment with this spec, or gives it to the one of that name. Raises Conflict, InvalidEnvironment."""
    if any(each.name == name for each in environments.find(conn)):
        change(conn, name, lambda former: spec, now)
    else:
        create(conn, name, spec, now)


def _check(comfyui: ComfyUISource) -> None:
    if isinstance(comfyui, Release):
        releases.check(comfyui)
