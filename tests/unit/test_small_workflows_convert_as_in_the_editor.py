"""Each rule of conversion, on a small workflow, as the real editor applies it; its answers are kept.

The editor itself is asked again by a scenario: tests/stack/test_workflows_convert_as_in_the_editor.py.
"""

from __future__ import annotations

import pytest

from tests.editor import kept
from tests.editor.comparison import converted, differences
from tests.editor.rules import RULES

ANSWERS = kept.read("rules")


@pytest.mark.parametrize("name", RULES)
def test_a_rule(name: str) -> None:
    workflow = RULES[name]

    assert differences(workflow, converted(workflow, kept.catalog_of_rules()), ANSWERS[name]) == []


def test_every_answer_is_of_a_graph() -> None:
    assert ANSWERS.keys() == RULES.keys()
    assert [name for name, answer in ANSWERS.items() if "sent" not in answer] == []
