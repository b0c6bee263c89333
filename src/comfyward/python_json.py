"""Reads JSON as Python, and so ComfyUI and its clients, write it: with NaN, Infinity and lone surrogates.

Strict readers refuse these, and clients must never see them. They are replaced by values that are valid in any JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def read_answer(data: bytes | str) -> Any:
    """An answer of ComfyUI: NaN and Infinity become None, as in browsers. Raises one of NOT_JSON."""
    return _read(data, lambda number: None)


def read_request(data: bytes | str) -> Any:
    """A request of a client: NaN and Infinity become their names, which ComfyUI parses. Raises one of NOT_JSON."""
    return _read(data, _name_of)


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
