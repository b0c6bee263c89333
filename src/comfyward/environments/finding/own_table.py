"""The operator's own table: the source of a pack by node class, in TOML or JSON.

"Fancy Upscale" = "git+https://git.example.com/team/fancy@main"
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from comfyward.environments.source import parse_pack
from comfyward.errors import InvalidEnvironment, SetupFailed
from comfyward.workflows.offer import Confidence, Offer, Origin


def own_table(path: Path | None) -> Mapping[str, Offer]:
    """The offers in the table, by class; none without a table. Raises SetupFailed, naming the entry."""
    if path is None:
        return {}
    try:
        content = path.read_bytes().decode()
        values = json.loads(content) if path.suffix == ".json" else tomllib.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise SetupFailed(f"The table of node classes in {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise SetupFailed(f"The table of node classes in {path} must have a source for each class.")
    return {name: _offer(path, name, source) for name, source in values.items()}


def _offer(path: Path, name: str, source: object) -> Offer:
    try:
        pack = parse_pack(str(source))
    except InvalidEnvironment as error:
        raise SetupFailed(
            f"The table in {path} has no source for '{name}': {error.message}", hint=error.hint
        ) from error
    return Offer(pack.name, Origin.TABLE, Confidence.CERTAIN, str(pack))
