"""Bodies of tools that fill in forms: they send every field, and each as text.

An optional field that is empty counts as absent; a text is read where a number, a flag, a list or an object belongs.
"""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo

from comfyward.python_json import TooManyValues, refuse_many

_TRUE = ("true", "1", "yes", "on")


class Request(BaseModel):
    """A request's body. Fields that it does not have are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _lenient(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        read = {
            name: _read_leniently(cls.model_fields[name], value)
            for name, value in data.items()
            if name in cls.model_fields
        }
        return {name: value for name, value in read.items() if not _is_absent(cls.model_fields[name], value)}


def is_true(value: Any) -> bool:
    """The value of a flag, sent as JSON, as a number or as text. Anything else is false."""
    return value.strip().lower() in _TRUE if isinstance(value, str) else isinstance(value, int | float) and value != 0


def filled(value: Any) -> Any:
    """A value without the empty fields of its objects."""
    if not isinstance(value, dict):
        return value
    return {name: filled(each) for name, each in value.items() if each not in (None, "")}


def _is_absent(field: FieldInfo, value: Any) -> bool:
    """True for a null that is no value of the field; a field that takes null can be cleared with it."""
    return value is None and not field.is_required() and type(None) not in _kinds(field.annotation)


def _read_leniently(field: FieldInfo, value: Any) -> Any:
    kinds = _kinds(field.annotation)
    match value:
        case [] if dict in kinds and not field.is_required():
            return None  # an empty object as PHP writes it
        case list():
            return [each for each in value if each not in (None, "")]
        case float() if float not in kinds and value.is_integer():
            return int(value)
        case str() if not value.strip() and not field.is_required():
            return None
        case str() if str not in kinds:
            parsed = _parsed(value, kinds)
            return parsed if isinstance(parsed, str) else _read_leniently(field, parsed)
        case _:
            return value


def _parsed(value: str, kinds: set[Any]) -> Any:
    """A text as JSON, or as a list with commas; any other text as it is, for the model to refuse."""
    text = value.strip()
    if list in kinds and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        refuse_many(text)
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, TooManyValues):
        return value


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that a field takes."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return set().union(*(_kinds(each) for each in get_args(annotation)))
    if origin is Literal:
        return {type(each) for each in get_args(annotation)}
    if annotation is Any:
        return {type(None), float}
    return {origin or annotation}
