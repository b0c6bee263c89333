"""The first obstacle that keeps a saved workflow from running, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from comfyward.dispatch.intake import Intake, Submission
from comfyward.errors import ComfywardError, InvalidEnvironment, UnknownClasses
from comfyward.web.problems import advices
from comfyward.workflows.workflow import Workflow

MAX_NAMED = 3
PLAIN = ("made_in_browser", "workflow_format_ui")  # messages that people understand as they are
ACTIVE_MODES = (0, None)  # modes of the editor's nodes; all others are muted or bypassed


@dataclass(frozen=True)
class Obstacle:
    sentence: str  # without a full stop
    node_id: str | None = None
    is_of_settings: bool = False  # the settings of the workflow solve it, not the editor


async def obstacle_of(intake: Intake, workflow: Workflow) -> Obstacle | None:
    """The reason to refuse a run of the workflow as it is saved; None if there is none."""
    prompt = msgspec.json.decode(workflow.graph or workflow.editor_graph or "null")
    if workflow.graph is None and (_is_empty(prompt) or _are_all_off(prompt)):
        return None if _is_empty(prompt) else Obstacle("every node is muted or bypassed")
    try:
        await intake.check(workflow.account_id, Submission(workflow.id, prompt))
    except ComfywardError as error:
        return _refused(error)
    return None


def _is_empty(editor_graph: Any) -> bool:
    return not (isinstance(editor_graph, dict) and editor_graph.get("nodes"))


def _are_all_off(editor_graph: dict[str, Any]) -> bool:
    return all(node.get("mode") not in ACTIVE_MODES for node in editor_graph["nodes"] if isinstance(node, dict))


def _refused(error: ComfywardError) -> Obstacle:
    node_id = error.details.get("node_id")
    missing = _not_installed(error)
    sentence = f"{_listed(missing)} not installed" if missing else _within_sentence(_sentence(error))
    is_of_settings = isinstance(error, InvalidEnvironment)
    return Obstacle(sentence.removesuffix("."), str(node_id) if node_id is not None else None, is_of_settings)


def _sentence(error: ComfywardError) -> str:
    is_plain = error.details.get("type") in PLAIN
    return error.message if is_plain else advices(error)[0].sentence


def _not_installed(error: ComfywardError) -> list[str]:
    """The classes that are missing, each once."""
    if isinstance(error, UnknownClasses):
        return list(error.details["classes"])
    node_errors: dict[str, Any] = error.details.get("node_errors") or {}
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
