"""The label of a node (`_meta`): its title, and the pack that its file names, where the name is one."""

from __future__ import annotations

import re

from comfyward.workflows.class_inputs import ClassInputs
from comfyward.workflows.conversion.nodes import Node

_CNR_ID = re.compile(r"(?![_.-])[A-Za-z0-9_.-]{1,100}(?<![_.-])")
_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|-(?=[A-Za-z0-9])){0,38}")
_PART = r"(?:0|[1-9][0-9]*)"
_MORE = r"[0-9a-z-]+(?:\.[0-9a-z-]+)*"
_VERSION = re.compile(rf"{_PART}\.{_PART}\.{_PART}(?:-{_MORE})?(?:\+{_MORE})?|(?i:[0-9a-f]{{4,40}})")


def label_of(node: Node, known: ClassInputs | None) -> dict[str, str]:
    """The label as the editor sends it."""
    title, properties = node.saved.title, node.properties
    label = {"title": title if isinstance(title, str) else known.title if known else node.type}
    for key, read in (("cnr_id", _cnr_id), ("aux_id", _aux_id), ("ver", _version)):
        value = properties.get(key)
        if isinstance(value, str) and (found := read(value)):
            label[key] = found
    return label


def _cnr_id(value: str) -> str | None:
    return value if _CNR_ID.fullmatch(value) else None


def _aux_id(value: str) -> str | None:
    owner, _, name = value.partition("/")
    return value if _OWNER.fullmatch(owner) and _CNR_ID.fullmatch(name) else None


def _version(value: str) -> str | None:
    plain = value.removeprefix("v")
    return plain if value == "unknown" or _VERSION.fullmatch(plain) else None
