"""The first obstacle that keeps a saved workflow from running, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from comfyward.dispatch.intake import Intake, Submission
from comfyward.errors import ComfywardError, InvalidEnvironment
from comfyward.web.problems import advices
from comfyward.workflows.workflow import Workflow

MAX_NAMED = 3
ACTIVE_MODES = (0, None)  # modes of the editor's nodes; all others are muted or bypassed


@dataclass(frozen=True)
class Obstacle:
    sentence: str  # without a full stop
    node_id: str | None = None
    is_of_settings: bool = False  # the settings of the workflow solve it, not the editor


async def obstacle_of(intake: Intake, workflow: Workflow) -> Obstacle | None:
    """The reason to refuse a run of the workflow as it is saved; None if there is none."""
    if workflow.graph is None:
        return _without_graph(workflow.editor_graph)
    try:
        prompt = msgspec.json.decode(workflow.graph)
        await intake.check(workflow.account_id, Submission(workflow.id, prompt))
    except ComfywardError as error:
        return _refused(error)
    return None


def _without_graph(editor_graph: str | None) -> Obstacle | None:
    """The editor saved only its own form of the graph, since there was nothing to run in it."""
    nodes = msgspec.json.decode(editor_graph).get("nodes") if editor_graph else None
    if not nodes:
        return None
    if all(node.get("mode") not in ACTIVE_MODES for node in nodes if isinstance(node, dict)):
        return Obstacle("every node is muted or bypassed")
    return Obstacle("the editor found nothing to run")


def _refused(error: ComfywardError) -> Obstacle:
    node_id = error.details.get("node_id")
    missing = _not_installed(error.details.get("node_errors") or {})
    sentence = f"{_listed(missing)} not installed" if missing else _within_sentence(advices(error)[0].sentence)
    is_of_settings = isinstance(error, InvalidEnvironment)
    return Obstacle(sentence.removesuffix("."), str(node_id) if node_id is not None else None, is_of_settings)


def _not_installed(node_errors: dict[str, Any]) -> list[str]:
    found = (
        entry["class_type"]
        for entry in node_errors.values()
        if any(each["type"] == "missing_node_type" for each in entry["errors"])
    )
    return list(dict.fromkeys(found))


def _listed(names: Iterable[str]) -> str:
    first, *more = names
    if not more:
        return f"{first} is"
    shown = [first, *more[: MAX_NAMED - 1]]
    left = len(more) + 1 - len(shown)
    last = f"{left} more" if left else shown.pop()
    return f"{', '.join(shown)} and {last} are"


def _within_sentence(message: str) -> str:
    """A message as it continues a sentence; a name at its beginning keeps its capitals."""
    starts_plainly = message[:1].isupper() and message[1:2].islower() and message.split(" ")[0].isalpha()
    return message[0].lower() + message[1:] if starts_plainly else message
