"""Cursors of lists: the place of the last item of a page, in a form that says nothing to clients."""

from __future__ import annotations

import base64
from types import GenericAlias
from typing import Any

import msgspec

from comfyward.api.whole_numbers import LARGEST


class InvalidCursor(ValueError):
    """Not the cursor of such a list."""


def cursor_of(*place: str | int | bool) -> str:
    """A text for an address, of which `place_of` makes the same values again."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str, *kinds: Any) -> tuple[Any, ...]:
    """What a cursor was made of. Raises InvalidCursor unless that is one value of each of these kinds."""
    kind: Any = GenericAlias(tuple, kinds)
    try:
        place: tuple[Any, ...] = msgspec.json.decode(_decoded(cursor), type=kind)
    except (ValueError, msgspec.DecodeError) as error:
        raise InvalidCursor(cursor) from error
    if any(isinstance(each, int) and not 0 <= each <= LARGEST for each in place):
        raise InvalidCursor(cursor)
    return place


def moment_of(cursor: str) -> tuple[int, str]:
    """(created_at, id): the place in a list by time. Raises InvalidCursor."""
    created_at, item_id = place_of(cursor, int, str)
    return created_at, item_id


def _decoded(cursor: str) -> bytes:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
