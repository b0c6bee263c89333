"""ComfyUI's templates without those that lead to somebody else's paid service.

(Source of the format: `index.json` of comfyui-workflow-templates, and the same in other languages: a list of
categories, each with its `templates`.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

_INDEX = re.compile(r"index(\.[A-Za-z-]{2,10})?\.json")
NO_INDEX = ("index.schema.json",)


def is_index(name: str) -> bool:
    """True for the name of a list of templates, in any language."""
    return _INDEX.fullmatch(name) is not None and name not in NO_INDEX


def is_free(entry: Mapping[str, Any]) -> bool:
    """False for a template that leads to a paid service, by its entry in the list.

    Such templates are marked as not open, and tagged or named after the API that they use.
    """
    tags = {str(tag).upper() for tag in entry.get("tags") or ()}
    return entry.get("openSource") is not False and "API" not in tags and not str(entry.get("name")).startswith("api_")


def free(index: bytes) -> bytes:
    """A list of templates without these, and without categories that are empty then. Anything else stays as it is."""
    categories = msgspec.json.decode(index)
    if not isinstance(categories, list):
        return index
    left = [{**each, "templates": [*filter(is_free, each.get("templates") or ())]} for each in categories]
    return msgspec.json.encode([each for each in left if each["templates"]])
