"""Texts of strangers as tables: JSON and YAML, within bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from comfyward.errors import InvalidEnvironment

MAX_YAML_CHARACTERS, MAX_DEPTH = 1 << 20, 100
# Every scalar is a text: version 1.10 is not the number 1.1. Nothing is constructed but lists and tables.
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def json_table(content: bytes | str, name: str) -> dict[str, Any]:
    """A table from JSON. Raises InvalidEnvironment."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidEnvironment(f"{name} is not JSON that can be read.") from error
    if not isinstance(found, dict):
        raise InvalidEnvironment(f"{name} holds no table.")
    return found


def yaml_table(text: str) -> dict[str, Any] | None:
    """A table from YAML; None for another text.

    Raises InvalidEnvironment for one that repeats parts by reference, or is nested without end.
    """
    if len(text) > MAX_YAML_CHARACTERS:
        raise InvalidEnvironment(f"The file has more than {MAX_YAML_CHARACTERS} characters.")
    try:
        _check_events(yaml.parse(text, Loader=_LOADER))
        found = yaml.load(text, Loader=_LOADER)  # noqa: S506  the loader that constructs least
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _check_events(events: Iterator[yaml.Event]) -> None:
    """Raises InvalidEnvironment for what a loader in C must not be given: its stack has no bound of its own."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise InvalidEnvironment("The file repeats parts of itself by reference (*name), which is not read.")
        if depth > MAX_DEPTH:
            raise InvalidEnvironment(f"The file is nested more than {MAX_DEPTH} times.")
