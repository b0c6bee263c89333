"""The label of a pack: author, licence, JavaScript, in its own words. A stranger's text, for people."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyward.environments.untrusted_texts import toml_table

MAX_BYTES, MAX_FILES, MAX_LENGTH = 256 << 10, 20_000, 200
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
_LICENCES = {  # by words at the start of their texts, the more special first
    "GNU AFFERO GENERAL PUBLIC LICENSE": "AGPL-3.0",
    "GNU LESSER GENERAL PUBLIC LICENSE": "LGPL-3.0",
    "GNU GENERAL PUBLIC LICENSE": "GPL-3.0",
    "MIT License": "MIT",
    "Apache License": "Apache-2.0",
}


@dataclass(frozen=True)
class PackLabel:
    """Texts are "" where the pack does not say; `scripts` is the number of its JavaScript files."""

    author: str = ""
    licence: str = ""
    description: str = ""
    scripts: int = 0


def label_of(folder: Path) -> PackLabel:
    """The label of a pack's files; an empty one if they are not here."""
    if not folder.is_dir():
        return PackLabel()
    values = _pyproject(folder)
    project, comfy = _table(values, "project"), _table(_table(values, "tool"), "comfy")
    return PackLabel(
        author=_text(comfy.get("PublisherId")) or _text(", ".join(_authors(project.get("authors")))),
        licence=_licence(project.get("license")) or _licence_in_files(folder),
        description=_text(project.get("description")),
        scripts=sum(1 for name in _names(folder) if name.endswith((".js", ".mjs"))),
    )


def _pyproject(folder: Path) -> Mapping[str, Any]:
    try:
        return toml_table(_start_of(folder / "pyproject.toml"))
    except (OSError, ValueError):
        return {}


def _start_of(path: Path) -> str:
    """The start of a file of a tree, whose links never lead out of it and which has nothing but files."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES).decode(errors="replace")


def _authors(value: object) -> Iterator[str]:
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict) and isinstance(name := each.get("name") or each.get("email"), str):
            yield name


def _licence(value: object) -> str:
    """The licence in a pyproject.toml: its name. One that is given by a file or its whole text is recognized there."""
    if isinstance(value, dict):
        value = value.get("text")
    return _text(value) if isinstance(value, str) and "\n" not in value else ""


def _licence_in_files(folder: Path) -> str:
    for name in LICENCE_FILES:
        try:
            text = _start_of(folder / name)[:2000]
        except OSError:
            continue
        return next((licence for words, licence in _LICENCES.items() if words in text), "")
    return ""


def _names(folder: Path) -> Iterator[str]:
    return itertools.islice((name for _, _, names in os.walk(folder) for name in names), MAX_FILES)


def _table(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    return value[:MAX_LENGTH] if isinstance(value, str) and value.isprintable() else ""
