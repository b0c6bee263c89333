"""What pages say of what went wrong: a sentence in their reader's words, and what to press.

Errors carry a code and facts; the API has its messages and hints for programmers, and the website has this table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from comfyward.errors import ComfywardError, InvalidGraph
from comfyward.workflows.catalog import INPUT_FOLDER

MAX_VALUE = 80
MAX_CHOICES = 8
MAX_ADVICES = 12
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Action:
    """A button that leads on."""

    label: str
    href: str


@dataclass(frozen=True)
class Advice:
    """What is wrong and what to do about it."""

    sentence: str
    actions: tuple[Action, ...] = ()


class PageError(ComfywardError):
    """Raised by a page: its sentence and hint are for whoever looks at that page, and shown as they are."""

    code = "page"

    def __init__(self, sentence: str, hint: str | None = None, *, status: int = 400) -> None:
        super().__init__(sentence, hint=hint)
        self.status = status


_OURS = "Something went wrong on the server. Try again; if it happens again, tell an admin."
# Errors whose message was written for people; hints, which are the API's, are left out.
OWN_WORDS = ("conflict", "invalid_value", "invalid_password")
SENTENCES = {
    "internal": _OURS,
    "invalid_request": "That cannot be used here. Check what you typed and try again.",
    "invalid_path": "This name or folder cannot be used. Leave out '..' and empty folders, or choose a shorter name.",
    "invalid_url": "This address cannot be fetched. Use a public one that begins with https:// or http://.",
    "invalid_graph": "This workflow is not complete, so it cannot run. Open it in the editor and save it again.",
    "metadata_invalid": "These labels cannot be used.",
    "missing_asset": "A file that this workflow uses is no longer here. Choose another one.",
    "range_not_satisfiable": "This part of the file does not exist.",
    "unauthenticated": "You are not logged in any more. Log in and try again.",
    "forbidden": "You may not do this.",
    "insufficient_credits": "Your credit is used up. Ask an admin for more.",
    "not_found": "This is not here. It may have been deleted, or belong to somebody else.",
    "method_not_allowed": "There is no page at this address.",
    "blob_not_found": "This file is no longer here.",
    "stale_lease": _OURS,
    "hash_mismatch": "The file arrived damaged. Try again.",
    "too_large": "That is larger than this server takes.",
    "unknown_accelerator": "This accelerator is not here. Choose another one.",
    "idempotency_key_reused": "This was sent already, with other values.",
    "idempotency_key_reuse": "This was sent already.",
    "other_version": _OURS,
    "queue_full": "As many of your runs are waiting as may wait at once. Try again when some of them are over.",
    "download": "The file could not be fetched. Check its address and try again.",
    "host_busy": "The host of this file is busy. Try again later.",
    "address_refused": "This address may not be fetched: it is not a public one.",
    "storage_full": "There is no space left on the server. Tell an admin.",
    "comfyui_error": _OURS,
    "comfyui_crashed": _OURS,
    "validation": "This workflow cannot run as it is. Open it in the editor to see why.",
    "unavailable": "The server is busy for a moment. Try again in a few seconds.",
    "setup_failed": _OURS,
}
_PAGES = {"insufficient_credits": Action("Usage", "/account/usage"), "queue_full": Action("Your runs", "/runs")}


def advices(error: ComfywardError, workflow_id: str | None = None) -> list[Advice]:
    """What a page says of an error. With a workflow's id there is a way to its editor."""
    editor = _editor(workflow_id)
    match error:
        case PageError():
            return [Advice(f"{error.message} {error.hint or ''}".strip())]
        case InvalidGraph(details={"problems": [*problems]}) if problems:
            return on_problems(problems, workflow_id)
        case InvalidGraph(details={"type": "prompt_no_outputs"}):
            return [Advice("Nothing here saves a result. Add a node that saves, such as Save Image.", editor)]
        case InvalidGraph():
            return [Advice(SENTENCES["invalid_graph"], editor)]
        case ComfywardError(code=code) if code in OWN_WORDS:
            return [Advice(error.message)]
        case _:
            action = _PAGES.get(error.code)
            return [Advice(SENTENCES.get(error.code, _OURS), (action,) if action else ())]


def on_problems(problems: Sequence[Facts], workflow_id: str | None = None, form: str = "") -> list[Advice]:
    """What is wrong with the nodes of a graph, each thing once. `form` is the page where files are chosen, if not
    this one."""
    editor = _editor(workflow_id)
    return list(dict.fromkeys(_on_problem(facts, editor, form) for facts in problems))[:MAX_ADVICES]


def _editor(workflow_id: str | None) -> tuple[Action, ...]:
    return (Action("Open in editor", f"/workflows/{workflow_id}/edit"),) if workflow_id else ()


def _on_problem(facts: Facts, editor: tuple[Action, ...], form: str) -> Advice:
    """What is wrong with one input of a node. The facts are those of `workflows.validation`."""
    node, name, received = facts["node"], _spoken(facts.get("input")), _short(facts.get("received"))
    accepted, folder = facts.get("accepted"), facts.get("folder")
    match facts["type"]:
        case "missing_node_type" if "did not load" in str(facts.get("message")):
            sentence = f"{facts['class_type']} is not here: the pack that has it did not load. An admin can see why."
            return Advice(sentence, (Action("Fleet", "/fleet"), *editor))
        case "missing_node_type":
            sentence = f"{facts['class_type']} is not installed here. Replace the node, or ask an admin to install it."
            return Advice(sentence, editor)
        case "value_not_in_list" if folder == INPUT_FOLDER:
            noun, field = noun_of(str(facts.get("input"))), f"{form}#{field_id(facts['node_id'], facts['input'])}"
            sentence = f"Choose a {noun} for {node}."
            if received:
                sentence = f"{received} is not here. Choose another {noun} for {node}."
            return Advice(sentence, (Action(f"Choose a {noun}", field),))
        case "value_not_in_list" if folder is not None and not received:
            return Advice(f"Choose a model for {node}.", editor)
        case "value_not_in_list" if folder is not None:
            ways = ways_to_bring(folder, str(facts.get("received")), facts.get("url"))
            return Advice(f"{received} is not here.", ways)
        case "value_not_in_list":
            return Advice(f"{node}: {name} cannot be {received}. Choose {_choices(accepted)}.", editor)
        case "required_input_missing":
            return Advice(f"{node}: {name} is missing. Connect it, or give it a value.", editor)
        case "return_type_mismatch":
            return Advice(f"{node}: {name} is connected to something of another kind; it takes {accepted}.", editor)
        case "dependency_cycle":
            return Advice(f"{node} waits for its own result. Take one of the connections of the circle away.", editor)
        case "bad_linked_input":
            return Advice(f"{node}: {name} is connected to something that is not there.", editor)
        case "value_smaller_than_min":
            return Advice(f"{node}: {name} must be at least {_bound(accepted, 'min')}.", editor)
        case "value_bigger_than_max":
            return Advice(f"{node}: {name} must be at most {_bound(accepted, 'max')}.", editor)
        case "invalid_input_type":
            return Advice(f"{node}: {name} cannot be {received or 'empty'}.", editor)
        case _:
            return Advice(f"{node}: {name or 'it'} cannot be used as it is.", editor)


def ways_to_bring(folder: str, name: str, url: str | None = None) -> tuple[Action, Action]:
    """To the page where a model is added, filled in."""
    directory, _, file = name.replace("\\", "/").rpartition("/")
    place = f"{folder}/{directory}" if directory else folder
    about = {"folder": place, "name": file} | ({"url": url} if url else {})
    return (
        Action("Add by URL", f"/files?{urlencode(about)}#import"),
        Action("Upload", f"/files?{urlencode({'into': f'/models/{place}', 'as': file})}#upload"),
    )


def noun_of(input_name: str) -> str:
    """What people call the file that an input takes."""
    nouns = {"image": "picture", "mask": "picture", "video": "video", "audio": "sound"}
    return next((noun for part, noun in nouns.items() if part in input_name.lower()), "file")


def field_id(node_id: str, input_name: str) -> str:
    """Where a form's page has the field of an input."""
    return f"in-{node_id}.{input_name}".replace(" ", "-")


def _spoken(name: object) -> str:
    return str(name or "").replace("_", " ")


def _short(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _choices(accepted: object) -> str:
    found = [str(each) for each in accepted] if isinstance(accepted, list) else []
    shown = ", ".join(found[:MAX_CHOICES])
    return f"{shown} or another" if len(found) > MAX_CHOICES else shown or "another value"


def _bound(accepted: object, which: str) -> str:
    return f"{accepted[which]}" if isinstance(accepted, dict) and which in accepted else "another value"
