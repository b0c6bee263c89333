"""docs/security.md: beside each promise stands a test that exists, or that it is not tested."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
LINK = re.compile(r"\]\((\.\./tests/[\w/]+\.py)\)")
NOT_TESTED = "not tested"


def test_every_promise_has_a_test_or_says_that_it_has_none() -> None:
    rows = promises(PAGE.read_text())

    assert rows
    assert [row for row in rows if not LINK.search(row[-1]) and NOT_TESTED not in row[-1]] == []


def test_every_linked_test_exists() -> None:
    linked = LINK.findall(PAGE.read_text())

    assert [path for path in linked if not (PAGE.parent / path).is_file()] == []


def promises(page: str) -> list[list[str]]:
    """The cells of each row of the tables whose last column is headed `shown by`."""
    found, is_promised = [], False
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells or set("".join(cells)) <= set("-: "):
            is_promised = is_promised and bool(cells)
        elif cells[-1] == "shown by":
            is_promised = True
        elif is_promised:
            found.append(cells)
    return found
