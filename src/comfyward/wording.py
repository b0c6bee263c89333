"""How sentences say a number of things, and what somebody who mistyped a name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SIMILAR = 0.6


def plural(count: int, one: str, many: str | None = None) -> str:
    """1 file, 2 files."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def closest(name: str, known: Iterable[str], similar: float = SIMILAR) -> str | None:
    """The known name that is most like another, if one is like it at all; upper and lower case are the same."""
    by_folded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), by_folded, 1, similar)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """A hint for a name that is not known."""
    meant = closest(name, known)
    return otherwise if meant is None else f"Did you mean '{meant}'?"
