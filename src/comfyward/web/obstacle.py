"""What keeps a saved workflow from running, in one sentence for whoever made it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from comfyward.dispatch.intake import Submission
from comfyward.errors import ComfywardError
from comfyward.web.problems import advices
from comfyward.web.visit import Visit
from comfyward.workflows.workflow import Workflow

MAX_NAMED = 3
RUNS = (0, None)  # modes of the editor's nodes: all others are muted or bypassed


@dataclass(frozen=True)
class Obstacle:
    sentence: str  # without its full stop
    node_id: str | None = None


async def obstacle_of(visit: Visit, workflow: Workflow) -> Obstacle | None:
    """What a run of the workflow as it is saved would be refused for; None when nothing is known to be in its way."""
    if workflow.graph is None:
        return _without_graph(workflow.editor_graph)
    try:
        prompt = msgspec.json.decode(workflow.graph)
        await visit.context.intake.check(visit.account.id, Submission(workflow.id, prompt))
    except ComfywardError as error:
        return _refused(error)
    return None


def _without_graph(editor_graph: str | None) -> Obstacle | None:
    """The editor saved its own form alone: it found nothing in it that could be run."""
    nodes = msgspec.json.decode(editor_graph).get("nodes") if editor_graph else None
    if not nodes:
        return None
    if all(node.get("mode") not in RUNS for node in nodes if isinstance(node, dict)):
        return Obstacle("every node is muted or bypassed")
    return Obstacle("the editor finds nothing in it to run")


def _refused(error: ComfywardError) -> Obstacle:
    node_id = error.details.get("node_id")
    missing = _not_installed(error.details.get("node_errors") or {})
    sentence = f"{_listed(missing)} not installed" if missing else _within_sentence(advices(error)[0].sentence)
    return Obstacle(sentence.removesuffix("."), str(node_id) if node_id is not None else None)


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
    """A sentence after a colon; a name that it begins with keeps its letters."""
    starts_plainly = message[:1].isupper() and message[1:2].islower() and message.split(" ")[0].isalpha()
    return message[0].lower() + message[1:] if starts_plainly else message
