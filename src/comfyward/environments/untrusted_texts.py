"""Texts of strangers as values, within bounds: what they could make take for ever, or nest without end, is refused.

The readers of TOML and of requirements are written in Python, and for well-meaning texts: a table name with a hundred
thousand parts is looked at again for each line below it, and each bracket is a call.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

MOST_PARTS = 32  # of a name such as a.b.c; with those of a line's numbers
MOST_BRACKETS = 32
MOST_CHARACTERS, LONGEST_REQUIREMENT = 4 << 20, 2000
# Strings and comments, also those that never end: a search never looks at a place twice.
_ASIDE = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:"""|\\?\Z)'
    r"|'''(?:[^']|'(?!''))*+(?:'''|\Z)"
    r'|"(?:[^"\\\n]|\\[^\n])*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+",
    re.DOTALL,
)


def toml_table(text: str) -> dict[str, Any]:
    """A table from TOML. Raises ValueError, which says why, for text that is none or is beyond the bounds."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"It has more than {MOST_CHARACTERS} characters")
    for number, line in enumerate(_ASIDE.sub(_lines_alone, text).split("\n"), 1):
        if line.count(".") > MOST_PARTS:
            raise ValueError(f"A name has more than {MOST_PARTS} parts (at line {number})")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("It is nested too deeply") from error


def _lines_alone(aside: re.Match[str]) -> str:
    return '""' + "\n" * aside[0].count("\n")


def parse_requirement(text: str) -> Requirement:
    """A requirement of a package, of one line. Raises InvalidRequirement, also for what is beyond the bounds.

    Markers hold texts with escapes: written out again, "\\n" would begin a line, which an installer reads for itself.
    """
    if len(text) > LONGEST_REQUIREMENT or text.count("(") > MOST_BRACKETS:
        raise InvalidRequirement(f"It has more than {LONGEST_REQUIREMENT} characters, or {MOST_BRACKETS} brackets.")
    requirement = Requirement(text)
    try:
        is_one_line = str(requirement).isprintable()
    except ValueError as error:  # a text with both kinds of quotes has no written form
        raise InvalidRequirement(str(error)) from error
    if not is_one_line:
        raise InvalidRequirement("It holds line ends or control characters.")
    return requirement
