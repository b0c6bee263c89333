"""Labels of a run, by which its caller finds it (`metadata` in Comfy API v2; source: the README of its SDK)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from comfyward.errors import InvalidLabels, InvalidRequest

MAX_LABELS = 16
MAX_FILTERS = 3
MAX_VALUE_BYTES = 256
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class InvalidFilter(InvalidRequest):
    code = "invalid_metadata_filter"


def check_labels(value: Any) -> dict[str, str]:
    """The labels of a request. Raises InvalidLabels naming the key."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidLabels("'metadata' must be an object of strings.")
    if len(value) > MAX_LABELS:
        raise InvalidLabels(f"'metadata' has more than {MAX_LABELS} pairs.")
    for key, text in value.items():
        problem = _problem(key, text)
        if problem:
            raise InvalidLabels(f"'metadata': {problem}.", key=key[:80])
    return dict(value)


def check_filter(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The labels that listed runs must have. Raises InvalidFilter."""
    if len(pairs) > MAX_FILTERS:
        raise InvalidFilter(f"A list takes at most {MAX_FILTERS} metadata filters.")
    wanted: dict[str, str] = {}
    for key, text in pairs:
        if key in wanted:
            raise InvalidFilter(f"The metadata filter '{key[:80]}' is given twice.")
        problem = _problem(key, text)
        if problem:
            raise InvalidFilter(f"The metadata filter is not valid: {problem}.")
        wanted[key] = text
    return wanted


def _problem(key: str, text: Any) -> str | None:
    if not _KEY.fullmatch(key):
        return f"the key '{key[:80]}' is not 1 to 40 letters, digits, '_', '.' or '-'"
    if not isinstance(text, str):
        return f"the value of '{key}' is not a string"
    if len(text.encode("utf-8", "surrogatepass")) > MAX_VALUE_BYTES:
        return f"the value of '{key}' is longer than {MAX_VALUE_BYTES} bytes"
    if _FORBIDDEN.search(text):
        return f"the value of '{key}' contains a control character"
    return None
