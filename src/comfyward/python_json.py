"""Reads JSON as Python, and so ComfyUI and its clients, write it: with NaN, Infinity and lone surrogates.

Strict readers refuse these, and clients must never see them. They are replaced by values that are valid in any JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import msgspec

MOST_VALUES = 500_000  # each costs a hundred times what its two bytes do
# A string that is cut off, also within an escape, reaches to the end: each character is looked at once.
_BYTES_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
_TEXT_STRING = re.compile(r'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
_CONTAINERS = (dict, list)
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


class TooManyValues(ValueError):
    """Raised before anything is decoded."""

    def __init__(self, most: int) -> None:
        super().__init__(f"it has more than {most} values")


def refuse_many(data: bytes | str, most: int = MOST_VALUES) -> None:
    """Raises TooManyValues for JSON with more commas, lists and objects than `most`, outside of its strings."""
    if len(data) <= most or _marks(data) <= most:
        return
    if _quotes(data) > 2 * most or _marks(_without_strings(data)) > most:
        raise TooManyValues(most)


def _quotes(data: bytes | str) -> int:
    return data.count('"') if isinstance(data, str) else data.count(b'"')


def _without_strings(data: bytes | str) -> bytes | str:
    return _TEXT_STRING.sub("", data) if isinstance(data, str) else _BYTES_STRING.sub(b"", data)


def _marks(data: bytes | str) -> int:
    if isinstance(data, str):
        return data.count(",") + data.count("[") + data.count("{")
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def read_answer(data: bytes | str) -> Any:
    """An answer of ComfyUI: NaN and Infinity become None, as in browsers. Raises one of NOT_JSON."""
    return _read(data, lambda number: None)


def read_request(data: bytes | str) -> Any:
    """A request of a client: NaN and Infinity become their names, which ComfyUI parses. Raises one of NOT_JSON."""
    refuse_many(data)
    return _read(data, _name_of)


def is_deeper(value: Any, most: int) -> bool:
    """True if lists and objects are nested more than `most` deep: a reader may refuse them, or break."""
    level: list[Any] = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(most):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, _CONTAINERS)
        ]
        if not level:
            return False
    return bool(level)


def _read(data: bytes | str, replace: Callable[[float], Any]) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        strict = error
    text = data if isinstance(data, str) else data.decode("utf-8-sig")

    def number(digits: str) -> Any:
        value = float(digits)
        return value if math.isfinite(value) else replace(value)

    try:
        return _encodable(json.loads(text, parse_float=number, parse_constant=number))
    except json.JSONDecodeError:
        raise strict from None  # its message has the position


def _encodable(value: Any) -> Any:
    """The value with lone surrogates replaced, so that all of its strings can be encoded."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_encodable(item) for item in value]
        case dict():
            return {_encodable(key): _encodable(item) for key, item in value.items()}
        case _:
            return value


def _name_of(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"
