"""Log text that was written for a terminal, as plain text."""

from __future__ import annotations

import re

# ECMA-48: control sequences (colours, the cursor), strings that terminals keep to themselves (titles), and others.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]*[0-~]?)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s/:'\"]+/)+")


def plain(text: str) -> str:
    """The text without colours and control sequences. Of an overwritten line, only the last state is kept."""
    lines = _ESCAPES.sub("", text).split("\n")
    return "\n".join(_CONTROLS.sub("", _at_last(line)) for line in lines)


def on_one_line(text: str) -> str:
    """The plain text with spaces in place of line breaks."""
    return " ".join(plain(text).split())


def without_folders(text: str) -> str:
    """The text with the last part of every absolute path alone: folders of a host are its operator's business."""
    return _FOLDERS.sub("", text)


def _at_last(line: str) -> str:
    if "\r" in line:
        line = next((written for written in reversed(line.split("\r")) if written), "")
    return _erased(line) if "\b" in line else line


def _erased(line: str) -> str:
    """Applies backspaces: each removes the character before it."""
    left: list[str] = []
    for letter in line:
        if letter != "\b":
            left.append(letter)
        elif left:
            left.pop()
    return "".join(left)
