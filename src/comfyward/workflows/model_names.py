"""The models that a saved workflow names, found in the text of its graph in either form, without parsing it.

A saved graph may be large, and is written in a transaction that others wait for. A name is relative to its folder, with
"/" between its parts. Pure.
"""

from __future__ import annotations

import re

from comfyward.paths import folder_and_name
from comfyward.workflows.needs import MAX_NAME_LENGTH, MODEL_SUFFIXES

MAX_NAMES = 500
_SUFFIX = re.compile(f'(?:{"|".join(map(re.escape, MODEL_SUFFIXES))})(?=\\\\*")', re.IGNORECASE)
_MENTION = re.compile(r"embedding:([^\s\"\\,;:()\[\]{}<>|]{1,200})|<lora:([^:>\"\\]{1,200})")
_BACKSLASHES = re.compile(r"\\+")
# Folders whose models texts of prompts mention without a suffix.
MENTIONED = ("embeddings", "loras")


def model_names(text: str | None) -> set[str]:
    """The names in a graph's JSON text, those of its prompts included. At most MAX_NAMES."""
    found = set[str]()
    for match in _SUFFIX.finditer(text or ""):
        begin = (text or "").rfind('"', max(0, match.start() - MAX_NAME_LENGTH), match.start()) + 1
        name = _BACKSLASHES.sub("/", (text or "")[begin : match.end()]) if begin else ""
        if name and len(name) <= MAX_NAME_LENGTH and len(found) < MAX_NAMES:
            found.add(name)
    for match in _MENTION.finditer(text or ""):
        if len(found) < MAX_NAMES:
            found.add(match[1] or match[2])
    return found


def names_of(path: str) -> list[str]:
    """The names by which graphs may call the model at a path.

    >>> names_of("/models/loras/deep/a.safetensors")
    ['deep/a.safetensors', 'deep/a']
    """
    folder, name = folder_and_name(path)
    stem, dot, _ = name.rpartition(".")
    return [name, stem] if folder in MENTIONED and dot else [name]


def name_of(path: str) -> str:
    """The name of the model at a path, without its folder.

    >>> name_of("/models/loras/deep/a.safetensors")
    'deep/a.safetensors'
    """
    return folder_and_name(path)[1]
