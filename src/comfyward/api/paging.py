"""Cursors of lists: the place of a page's last item, opaque to clients."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from types import GenericAlias
from typing import Any, Protocol

import msgspec

from comfyward.api.whole_numbers import LARGEST


class InvalidCursor(ValueError):
    """The text is not the cursor of such a list."""


def cursor_of(*place: str | int | bool) -> str:
    """The cursor of these values, for use in an address; `place_of` is its inverse."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str, *kinds: Any) -> tuple[Any, ...]:
    """The values of a cursor. Raises InvalidCursor unless there is one of each of these kinds."""
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


class Dated(Protocol):
    """An item of a list by time."""

    @property
    def id(self) -> str: ...

    @property
    def created_at(self) -> int: ...


def next_cursor(found: Sequence[Dated], limit: int, *, is_cut: bool = False) -> str | None:
    """The cursor of the page after one of `limit` items. None if no more items than that were found.

    `is_cut`: there are more, though no more were read.
    """
    if len(found) <= limit and not is_cut:
        return None
    last = found[:limit][-1]
    return cursor_of(last.created_at, last.id)


def _decoded(cursor: str) -> bytes:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
