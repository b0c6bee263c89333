"""The templates and blueprints of ComfyUI convert as in its real editor, graph for graph.

The editor's answers are kept. A few workflows are given to the editor itself, in Chromium, each time; all of them with
EDITOR_LIVE=all. `python -m tests.editor.kept` makes the answers anew, for other versions of editor, templates or
ComfyUI.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.editor import kept
from tests.editor.comparison import converted, differences
from tests.editor.real import real_editor
from tests.editor.rules import RULES
from tests.stack.browser import BROWSER

pytestmark = pytest.mark.engine

FAULTS = {
    "templates/api_flux2": "it loses the fourth picture of a list that grows inside of a choice",
    "templates/basic_image_color_adjustment": "it does not open this file (DataCloneError)",
    "blueprints/Color Curves": "it does not open this file (DataCloneError)",
}
"""Workflows that the editor itself breaks."""

LIVE_RULES = (
    "widgets: values by position",
    "links: a name beats a number",
    "modes: mode 4, output 1",
    "editor only: reroutes",
    "growing: images that grow",
    "growing: chosen by size",
    "boxes: a box in a box with values",
    "boxes: old lists of widgets 0",
    "groups: a group node, fed",
    "texts: a file name",
)
LIVE_WORKFLOWS = (
    "templates/image_z_image_turbo",
    "blueprints/Crop Images 2x2",
    "templates/flux1_dev_uso_reference_image_gen",
)


@pytest.fixture(scope="module")
def workflows(environments: Path) -> dict[str, Any]:
    return dict(kept.workflows(environments))


def test_the_answers_are_of_what_is_installed() -> None:
    assert json.loads((kept.KEPT / "pins.json").read_text()) == kept.pins(), "run: python -m tests.editor.kept"


def test_no_template_differs(workflows: dict[str, Any]) -> None:
    answers, catalog = kept.read("templates"), kept.catalog()
    made = {name: converted(workflows[name], catalog) for name in answers}
    compared = [name for name in answers if "sent" in made[name] and name not in FAULTS]

    found = {name: differences(workflows[name], made[name], answers[name]) for name in compared}

    assert {name: told for name, told in found.items() if told} == {}
    assert len(compared) > 550
    refused = {name: each["failed"] for name, each in made.items() if "failed" in each}
    assert [name for name, message in refused.items() if "Only a browser can make" not in message] == []


def test_every_other_template_names_the_classes_that_are_missing(workflows: dict[str, Any]) -> None:
    answers, catalog = kept.read("templates"), kept.catalog()
    others = {name: converted(workflow, catalog) for name, workflow in workflows.items() if name not in answers}

    assert [name for name, each in others.items() if "No worker has the classes" not in each.get("failed", "")] == []


def test_the_editor_in_a_browser_gives_the_kept_answers(workflows: dict[str, Any], environments: Path) -> None:
    if BROWSER is None:
        pytest.skip("Chromium is not installed: ComfyUI's editor is not asked")
    is_all = os.environ.get("EDITOR_LIVE") == "all"
    asked = RULES if is_all else {name: RULES[name] for name in LIVE_RULES}
    opened = kept.read("templates") if is_all else LIVE_WORKFLOWS
    nodes = kept.of_editor(kept.catalog().nodes | kept.catalog_of_rules().nodes)
    with real_editor(kept.static(environments), nodes) as editor:
        rules = {name: editor.sends(workflow) for name, workflow in asked.items()}
        templates = {name: editor.sends(workflows[name]) for name in opened}

    assert rules == {name: kept.read("rules")[name] for name in rules}
    assert templates == {name: kept.read("templates")[name] for name in templates}
