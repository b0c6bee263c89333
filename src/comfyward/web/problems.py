"""Error messages of pages: a sentence for the user, and buttons that help.

Errors carry a code and facts. Their messages and hints are for programmers; the website has this table instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from comfyward.errors import ComfywardError, InvalidGraph, NotAFile
from comfyward.web.formatting import with_article
from comfyward.workflows.catalog import INPUT_FOLDER

MAX_VALUE = 80
MAX_CHOICES = 8
MAX_ADVICES = 12
MAX_PACKS = 3
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Action:
    """A link, shown as a button."""

    label: str
    href: str


@dataclass(frozen=True)
class Advice:
    """A sentence about a problem, and links to what solves it."""

    sentence: str
    actions: tuple[Action, ...] = ()
    command: str | None = None  # for an admin, in a terminal


class PageError(ComfywardError):
    """Raised by a page: its message and hint are for users, and shown as they are."""

    code = "page"

    def __init__(self, sentence: str, hint: str | None = None, *, status: int = 400) -> None:
        super().__init__(sentence, hint=hint)
        self.status = status


_OURS = "Something went wrong on the server. Try again; if the problem persists, contact an admin."
# Errors whose messages are for users; their hints are for programmers and are left out.
OWN_WORDS = (
    "conflict",
    "not_a_file",
    "model_in_use",
    "invalid_value",
    "invalid_password",
    "invalid_environment",
    "packages_exclude",
)
SENTENCES = {
    "internal": _OURS,
    "invalid_request": "The request is invalid. Check your input and try again.",
    "invalid_path": "Invalid name or folder. Remove '..' and empty folders, or use a shorter name.",
    "invalid_url": "Invalid URL. Use a public one that starts with https:// or http://.",
    "invalid_graph": "This workflow is incomplete and cannot run. Open it in the editor and save it again.",
    "invalid_catalog": _OURS,
    "metadata_invalid": "Invalid labels.",
    "missing_asset": "A file of this workflow no longer exists. Choose another one.",
    "range_not_satisfiable": "The requested part of the file does not exist.",
    "unauthenticated": "Your session has expired. Log in and try again.",
    "forbidden": "You do not have permission to do this.",
    "over_quota": "Your storage is full. Delete some files or runs, or ask an admin for more.",
    "insufficient_credits": "You have used all of your credits. Ask an admin for more.",
    "not_found": "It does not exist or has been deleted, or you do not have access to it.",
    "method_not_allowed": "There is no page at this address.",
    "blob_not_found": "This file no longer exists.",
    "stale_lease": _OURS,
    "worker_id_taken": _OURS,
    "hash_mismatch": "The file was corrupted in transit. Try again.",
    "too_large": "This exceeds the size limit of this server.",
    "unknown_accelerator": "This accelerator is not available. Choose another one.",
    "idempotency_key_reused": "This form was already submitted with other values.",
    "idempotency_key_reuse": "This form was already submitted.",
    "other_version": _OURS,
    "queue_full": "You have reached the limit of queued runs. Try again when some of them have finished.",
    "too_many_streams": "Too many pages or programs of your account are open. Close some and try again.",
    "download": "The file could not be downloaded. Check its URL and try again.",
    "host_busy": "The host of this file is busy. Try again later.",
    "host_slow": "The host of this file is too slow. Use a faster one, or upload the file.",
    "address_refused": "This URL is not allowed: its address is not public.",
    "storage_full": "The server is out of disk space. Contact an admin.",
    "comfyui_error": _OURS,
    "comfyui_crashed": _OURS,
    "validation": "This workflow is not valid. Open it in the editor to see why.",
    "secret_unreadable": "This secret can no longer be read. Store it again, or contact an admin.",
    "unavailable": "The server is busy. Try again in a few seconds.",
    "setup_failed": _OURS,
}
_ACTIONS = {
    "insufficient_credits": Action("Usage", "/account/usage"),
    "over_quota": Action("Storage", "/account/usage"),
    "queue_full": Action("Your runs", "/runs"),
}


def advices(error: ComfywardError, workflow_id: str | None = None, *, is_admin: bool = False) -> list[Advice]:
    """The explanation of an error, with a link to the editor if a workflow's id is given, and an admin's commands."""
    editor = editor_of(workflow_id)
    match error:
        case PageError():
            return [Advice(f"{error.message} {error.hint or ''}".strip())]
        case NotAFile():
            return [Advice(f"{error.message} {error.hint or ''}".strip())]
        case InvalidGraph(details={"problems": [*problems]}) if problems:
            return on_problems(problems, workflow_id, is_admin=is_admin)
        case InvalidGraph(details={"type": "prompt_no_outputs"}):
            return [Advice("This workflow has no output node. Add one, such as Save Image.", editor)]
        case InvalidGraph(details={"type": "made_in_browser" | "workflow_format_ui"}):  # people understand them
            return [Advice(error.message, editor)]
        case InvalidGraph():
            return [Advice(SENTENCES["invalid_graph"], editor)]
        case ComfywardError(code=code) if code in OWN_WORDS:
            return [Advice(error.message)]
        case _:
            action = _ACTIONS.get(error.code)
            return [Advice(SENTENCES.get(error.code, _OURS), (action,) if action else ())]


def on_problems(
    problems: Sequence[Facts], workflow_id: str | None = None, form: str = "", *, is_admin: bool = False
) -> list[Advice]:
    """The explanations of a graph's problems, without duplicates. `form` is the path of the page where files are
    chosen, unless it is this one."""
    editor = editor_of(workflow_id)
    others = [facts for facts in problems if not _has_packs(facts)]
    found = (*_needed_by(problems, is_admin=is_admin), *(_on_problem(facts, editor, form) for facts in others))
    return list(dict.fromkeys(found))[:MAX_ADVICES]


def _has_packs(facts: Facts) -> bool:
    """True for a missing class of which it is known what has it."""
    return facts["type"] == "missing_node_type" and bool(facts.get("packs")) and not _did_not_load(facts)


def _did_not_load(facts: Facts) -> bool:
    """True for a missing class whose pack is installed, but broken."""
    return "did not load" in str(facts.get("message"))


def _needed_by(problems: Sequence[Facts], *, is_admin: bool) -> list[Advice]:
    """The packs or versions that a workflow needs for its missing classes: one sentence for each pack."""
    classes: dict[str, list[str]] = {}
    packs: dict[str, list[Facts]] = {}
    for facts in filter(_has_packs, problems):
        key = str(facts["packs"][0].get("source") or facts["packs"][0].get("comfyui"))
        packs.setdefault(key, facts["packs"])
        if (name := _short(facts["class_type"])) not in classes.setdefault(key, []):
            classes[key].append(name)
    return [_needed(packs[key], names, is_admin=is_admin) for key, names in classes.items()]


def _needed(packs: Sequence[Facts], names: Sequence[str], *, is_admin: bool) -> Advice:
    first = packs[0]
    shown = [*names[:MAX_CHOICES], *([f"{len(names) - MAX_CHOICES} more"] if len(names) > MAX_CHOICES else [])]
    purpose = " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)
    if first.get("comfyui"):
        sentence = f"This workflow needs ComfyUI {first['comfyui']}, for {purpose}."
        return Advice(sentence if is_admin else f"{sentence} Ask an admin for it.")
    names_of_packs = [_short(pack["pack"]) for pack in packs[:MAX_PACKS]]
    may_be_others = first.get("confidence") == "possible"
    what = f"may need {' or '.join(names_of_packs)}" if may_be_others else f"needs {names_of_packs[0]}"
    sentence = f"This workflow {what}, for {purpose}."
    return Advice(sentence, command=first.get("command")) if is_admin else Advice(f"{sentence} Ask an admin to add it.")


def editor_of(workflow_id: str | None) -> tuple[Action, ...]:
    return (Action("Open in editor", f"/workflows/{workflow_id}/edit"),) if workflow_id else ()


def _on_problem(facts: Facts, editor: tuple[Action, ...], form: str) -> Advice:
    """The explanation of one problem, whose facts come from `workflows.validation`."""
    node, name, received = facts["node"], _display_name(facts.get("input")), _short(facts.get("received"))
    accepted, folder = facts.get("accepted"), facts.get("folder")
    match facts["type"]:
        case "missing_node_type" if _did_not_load(facts):
            sentence = f"{facts['class_type']} is not available: its node pack failed to load. An admin can see why."
            return Advice(sentence, (Action("Fleet", "/fleet"), *editor))
        case "missing_node_type":
            sentence = f"{facts['class_type']} is not installed. Replace the node, or ask an admin to install it."
            return Advice(sentence, editor)
        case "value_not_in_list" if folder == INPUT_FOLDER:
            kind, field = file_kind(str(facts.get("input"))), f"{form}#{field_id(facts['node_id'], facts['input'])}"
            sentence = f"Choose {with_article(kind)} for {node}."
            if received:
                sentence = f"{received} was not found. Choose another {kind} for {node}."
            return Advice(sentence, (Action(f"Choose {with_article(kind)}", field),))
        case "value_not_in_list" if folder is not None and not received:
            return Advice(f"Choose a model for {node}.", editor)
        case "value_not_in_list" if folder is not None:
            ways = ways_to_add(folder, str(facts.get("received")), facts.get("url"))
            return Advice(f"{received} was not found.", ways)
        case "value_not_in_list":
            return Advice(f"{node}: {received} is not a valid {name}. Choose {_choices(accepted)}.", editor)
        case "required_input_missing":
            return Advice(f"{node}: {name} is missing. Connect it or enter a value.", editor)
        case "return_type_mismatch":
            return Advice(f"{node}: {name} has a connection of the wrong type; it accepts {accepted}.", editor)
        case "dependency_cycle":
            return Advice(f"{node} depends on its own output. Remove one of the connections in the cycle.", editor)
        case "bad_linked_input":
            return Advice(f"{node}: {name} is connected to a node that does not exist.", editor)
        case "value_smaller_than_min":
            return Advice(f"{node}: {name} must be at least {_bound(accepted, 'min')}.", editor)
        case "value_bigger_than_max":
            return Advice(f"{node}: {name} must be at most {_bound(accepted, 'max')}.", editor)
        case "invalid_input_type":
            return Advice(f"{node}: {received or 'an empty value'} is not valid for {name}.", editor)
        case _:
            return Advice(f"{node}: {name or 'an input'} is not valid.", editor)


def ways_to_add(folder: str, name: str, url: str | None = None) -> tuple[Action, Action]:
    """Links to the page where models are added, with its forms filled in."""
    directory, _, file = name.replace("\\", "/").rpartition("/")
    place = f"{folder}/{directory}" if directory else folder
    about = {"folder": place, "name": file} | ({"url": url} if url else {})
    return (
        Action("Add by URL", f"/files?{urlencode(about)}#import"),
        Action("Upload", f"/files?{urlencode({'into': f'/models/{place}', 'as': file})}#upload"),
    )


def file_kind(input_name: str) -> str:
    """A noun for the files that an input takes."""
    kinds = {"image": "image", "mask": "image", "video": "video", "audio": "audio file"}
    return next((kind for part, kind in kinds.items() if part in input_name.lower()), "file")


def field_id(node_id: str, input_name: str) -> str:
    """The id of an input's field in a form."""
    return f"in-{node_id}.{input_name}".replace(" ", "-")


def _display_name(name: object) -> str:
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
