"""Words in texts that the editor replaces when it sends a graph: comments, choices at random, values between signs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

_COMMENT = re.compile(r"/\*[\s\S]*?\*/|//.*")
_BETWEEN = re.compile(r"%([^%]+)%")
_PARTS = re.compile(r"yyyy|yy?|MM?|dd?|hh?|mm?|ss?")
_NO_FILE_NAME = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')
ESCAPES = "{|}"

Choose = Callable[[int], int]
"""A number below its argument, at random."""


def without_choices(text: str, choose: Choose) -> str:
    """The text without comments, with one of each `{a|b}`; a brace that is not closed is closed by the end.

    >>> without_choices("a {red|{dark|light} blue} \\\\{cat\\\\} // not this", lambda count: count - 1)
    'a light blue {cat} '
    """
    levels: list[list[list[str]]] = [[[]]]  # of each open brace, its options, in pieces
    position, text = 0, _COMMENT.sub("", text)
    while position < len(text):
        char = text[position]
        position += 1
        if char == "\\" and text[position : position + 1] in ESCAPES and position < len(text):
            levels[-1][-1].append(text[position])
            position += 1
        elif char == "{":
            levels.append([[]])
        elif char == "|" and len(levels) > 1:
            levels[-1].append([])
        elif char == "}" and len(levels) > 1:
            _close(levels, choose)
        else:
            levels[-1][-1].append(char)
    while len(levels) > 1:
        _close(levels, choose)
    return "".join(levels[0][0])


def _close(levels: list[list[list[str]]], choose: Choose) -> None:
    options = levels.pop()
    levels[-1][-1].append("".join(options[choose(len(options))]))


def replaced(text: str, now: datetime, value_of: Callable[[str, str], Any]) -> str:
    """The text with `%date:…%` and `%Node.widget%` filled in; `value_of` raises KeyError for what there is not."""

    def one(found: re.Match[str]) -> str:
        node, dot, widget = found[1].partition(".")
        if not dot or "." in widget:
            return dated(node.removeprefix("date:"), now) if node.startswith("date:") else found[0]
        try:
            return _NO_FILE_NAME.sub("_", shown(value_of(node, widget)))
        except KeyError:
            return found[0]

    return _BETWEEN.sub(one, text) if "%" in text else text


def dated(form: str, now: datetime) -> str:
    """The time in a form such as yyyy-MM-dd.

    >>> dated("yyyy-MM-dd hh:mm:ss", datetime(2026, 3, 4, 5, 6, 7))
    '2026-03-04 05:06:07'
    """
    numbers = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def part(found: re.Match[str]) -> str:
        what = found[0]
        if what[0] == "y":
            return f"{now.year:04}"[4 - max(len(what), 2) :] if len(what) <= 4 else what
        return f"{numbers[what[0]]:0{len(what)}}"

    return _PARTS.sub(part, form)


def shown(value: Any) -> str:
    """A value as JavaScript writes it in a text."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case list():
            return ",".join(shown(each) for each in value)
        case dict():
            return "[object Object]"
        case _:
            return str(value)
