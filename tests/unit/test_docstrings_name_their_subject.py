"""A docstring says what is returned or done: it does not begin as a question would, and guides name what exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "comfyward"
QUESTION_WORD = re.compile(r"(what|who|whom|whose|where|which|why|when|how|whether)(ever)?\b", re.IGNORECASE)


def test_no_docstring_begins_with_a_question_word() -> None:
    found = [
        f"{module.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for module in sorted(SOURCE.rglob("*.py"))
        for line, text in _docstrings(module)
        if QUESTION_WORD.match(text)
    ]

    assert found == []


@pytest.mark.parametrize("page", ["architecture.md", "glossary.md"])
def test_a_guide_names_modules_that_exist(page: str) -> None:
    named = re.findall(r"`([a-z_0-9/]+(?:\.py|/))`", (ROOT / "docs" / page).read_text())

    assert [name for name in named if not (SOURCE / name).exists()] == []


def _docstrings(module: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text
