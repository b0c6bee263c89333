"""JSON as Python writes it, and so ComfyUI and its clients: with NaN and Infinity, and with halves of letters.

Strict readers refuse these, and clients must never see them. They are read here into values that every JSON can hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def read_answer(data: bytes | str) -> Any:
    """What ComfyUI says: a number that JSON does not have becomes null, as browsers write it. Raises NOT_JSON."""
    return _read(data, lambda number: None)


def read_request(data: bytes | str) -> Any:
    """What a client sends: such a number becomes its name, which ComfyUI reads as the number. Raises NOT_JSON."""
    return _read(data, _name_of)


def _read(data: bytes | str, instead: Callable[[float], Any]) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        strict = error
    text = data if isinstance(data, str) else data.decode("utf-8-sig")

    def number(digits: str) -> Any:
        value = float(digits)
        return value if math.isfinite(value) else instead(value)

    try:
        return _whole(json.loads(text, parse_float=number, parse_constant=number))
    except json.JSONDecodeError:
        raise strict from None  # it says where


def _whole(value: Any) -> Any:
    """The value with every text one that can be written."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {_whole(key): _whole(item) for key, item in value.items()}
        case _:
            return value


def _name_of(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"
