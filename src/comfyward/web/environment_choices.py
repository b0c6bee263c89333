"""The environments that a workflow can have, as its settings offer them, and the one that it has, as its page says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from comfyward.environments.reference import Reference
from comfyward.errors import InvalidEnvironment
from comfyward.store import environments
from comfyward.store.environments import Environment, former_of


@dataclass(frozen=True)
class Choice:
    """A value that a workflow stores, and its meaning."""

    value: str
    label: str


def choices(conn: Connection, chosen: str) -> list[Choice]:
    """The default environment, then every other: by its name, and by those of its numbers that were current. What is
    chosen is among them, even if it does not exist any more."""
    found = [Choice("", "Default: the ComfyUI of the workers"), *_named(environments.find(conn))]
    if chosen not in [each.value for each in found]:
        found.append(Choice(chosen, described(conn, chosen)))
    return found


def described(conn: Connection, chosen: str) -> str:
    """The environment of a workflow: "portraits, revision 7", or what is wrong with it; "" for the default one."""
    if not chosen:
        return ""
    try:
        reference = Reference.parse(chosen)
    except InvalidEnvironment:
        return f"{chosen} (does not exist)"
    found = next((each for each in environments.find(conn) if each.name == reference.name), None)
    if found is None:
        return f"{chosen} (does not exist)"
    if reference.number is None:
        return f"{found.name}, {_revision(found)}"
    numbers = [each.number for each in environments.revisions(conn, found.name)]
    return f"{found.name}, revision {reference.number}" if reference.number in numbers else f"{chosen} (does not exist)"


def _named(found: Sequence[Environment]) -> Iterator[Choice]:
    for each in found:
        yield Choice(
            each.name, f"{each.name}, always the current revision{f' ({each.current})' if each.current else ''}"
        )
        for number in sorted({each.current, *former_of(each)} - {0}, reverse=True):
            yield Choice(f"{each.name}@{number}", f"{each.name}, revision {number}")


def _revision(environment: Environment) -> str:
    return f"revision {environment.current}" if environment.current else "no current revision yet"
