"""Words in texts that the editor replaces when it sends a graph: comments, choices at random, values between signs."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

_COMMENT = re.compile(r"/\*|//")
_LINE_END = re.compile("[\n\r\u2028\u2029]")
_MARK = re.compile(r"\\[{|}]|[{|}]")
_BETWEEN = re.compile(r"%([^%]+)%")
_PARTS = re.compile(r"yyyy|yy?|MM?|dd?|hh?|mm?|ss?")
_NO_FILE_NAME = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')
Choose = Callable[[int], int]
"""A number below its argument, at random."""


def without_choices(text: str, choose: Choose) -> str:
    """The text without comments, with one of each `{a|b}`; a brace that is not closed is closed by the end.

    >>> without_choices("a {red|{dark|light} blue} cat // not this", lambda count: count - 1)
    'a light blue cat '
    """
    text = without_comments(text)
    levels: list[list[deque[str]]] = [[deque()]]  # of each open brace, its options, in pieces
    position = 0
    while position < len(text):
        found = _MARK.search(text, position)
        end = found.start() if found else len(text)
        if end > position:
            levels[-1][-1].append(text[position:end])
        if found is None:
            break
        mark, position = found[0], found.end()
        if len(mark) == 2:
            levels[-1][-1].append(mark[1])
        elif mark == "{":
            levels.append([deque()])
        elif len(levels) == 1:
            levels[-1][-1].append(mark)
        elif mark == "|":
            levels[-1].append(deque())
        else:
            _close(levels, choose)
    while len(levels) > 1:
        _close(levels, choose)
    return "".join(levels[0][0])


def _close(levels: list[list[deque[str]]], choose: Choose) -> None:
    """Puts one option of the last brace into the option around it, moving the shorter one of the two."""
    options = levels.pop()
    chosen, around = options[choose(len(options))], levels[-1][-1]
    if len(chosen) <= len(around):
        around.extend(chosen)
    else:
        chosen.extendleft(reversed(around))
        levels[-1][-1] = chosen


def without_comments(text: str) -> str:
    """The text without `/* */`, also over several lines, and `//` to the end of a line.

    >>> without_comments("a /* b // c */ d // e /* f")
    'a  d '
    """
    pieces, position, has_end = list[str](), 0, True
    while (start := _COMMENT.search(text, position)) is not None:
        pieces.append(text[position : start.start()])
        if start[0] == "//":
            position = found.start() if (found := _LINE_END.search(text, start.end())) else len(text)
            continue
        end = text.find("*/", start.end()) if has_end else -1
        has_end = end >= 0
        if not has_end:
            pieces.append("/*")
        position = end + 2 if has_end else start.end()
    return "".join((*pieces, text[position:]))


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
