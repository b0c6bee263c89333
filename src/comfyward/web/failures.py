"""What a run's page says of a run that did not succeed: a sentence in its reader's words, and what to press."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from comfyward.runs.run import EndReason, Run, State
from comfyward.web.problems import Action, Advice, on_problems, ways_to_bring
from comfyward.workflows.catalog import INPUT_FOLDER, Catalog
from comfyward.workflows.graph import names_of, parse_graph

MAX_SAID = 400
# What reading a file raises, whatever reads it.
_READING = (
    "UnidentifiedImageError",
    "SafetensorError",
    "UnpicklingError",
    "BadZipFile",
    "InvalidDataError",
    "EOFError",
)
SENTENCES: dict[EndReason, str] = {
    EndReason.COMPLETED: "The run is done.",
    EndReason.CANCELLED: "The run was cancelled.",
    EndReason.TIMEOUT: "The run was stopped: it took longer than its {timeout:g} s. Make it do less, and run it again.",
    EndReason.VALIDATION: "ComfyUI cannot run this workflow as it is. Open it in the editor to see why.",
    EndReason.MISSING_NODE: "A node of this workflow is not installed here. Replace it, or ask an admin to install it.",
    EndReason.MISSING_MODEL: "A model of this workflow is not here.",
    EndReason.DOWNLOAD: "{file} could not be fetched: {why} Check its address, and run it again.",
    EndReason.HOST_BUSY: "{file} could not be fetched: {why} Run it again later.",
    EndReason.NODE_ERROR: "{node} failed: {said}",
    EndReason.OVER_LIMIT: "{file} is larger than this server takes.",
    EndReason.INSUFFICIENT_CREDIT: "Your credit is used up. Ask an admin for more.",
    EndReason.OOM: "The accelerator ran out of memory{at}. Choose a larger one, or a smaller picture or batch.",
    EndReason.GPU_FAULT: "The accelerator failed{at}. Run it again.",
    EndReason.COMFYUI_CRASHED: "ComfyUI stopped in the middle of the run. Its log may say why.",
    EndReason.WORKER_LOST: "The machine that ran it went away. Run it again.",
    EndReason.STORAGE_FULL: "There was no space left on the machine that ran it. Tell an admin.",
    EndReason.INTERNAL: "Something went wrong on the server's side. Run it again; if it happens again, tell an admin.",
}


def advices_on(run: Run, catalog: Catalog | None) -> list[Advice]:
    """What to say of a run; nothing of one that succeeded or is on its way."""
    if run.failure is None or run.end_reason is None or run.state is State.SUCCEEDED:
        return []
    failure, reason, names = run.failure, run.end_reason, node_names(run, catalog)
    # A node that another one made while it ran goes by its class.
    node = names.get(str(failure.get("node_id")), str(failure.get("node_type") or "A node"))
    editor = Action("Open in editor", f"/workflows/{run.workflow_id}/edit?run={run.id}")
    change = Action("Run with changes", f"/runs/{run.id}/change")
    details = failure.get("details") or {}
    if problems := list(_problems(details.get("node_errors"), names, catalog)):
        return on_problems(problems, run.workflow_id, f"/runs/{run.id}/change")
    if (unread := _unread(run, node, catalog)) is not None:
        return [unread]
    if reason is EndReason.TIMEOUT and run.started_at is None:
        return [Advice("The run did not start in the time that it was given. Run it again.")]
    if reason is EndReason.OVER_LIMIT and "path" not in details:
        return [Advice(str(failure.get("message")))]
    sentence = SENTENCES[reason].format_map(_Words(_words(run, node)))
    match reason:
        case EndReason.NODE_ERROR:
            return [Advice(sentence, (change, editor))]
        case EndReason.VALIDATION | EndReason.MISSING_NODE | EndReason.MISSING_MODEL:
            return [Advice(sentence, (editor,))]
        case EndReason.OOM | EndReason.TIMEOUT | EndReason.OVER_LIMIT | EndReason.DOWNLOAD:
            return [Advice(sentence, (change,))]
        case EndReason.INSUFFICIENT_CREDIT:
            return [Advice(sentence, (Action("Usage", "/account/usage"),))]
        case _:
            return [Advice(sentence)]


def node_names(run: Run, catalog: Catalog | None) -> dict[str, str]:
    """What people call the run's nodes."""
    return names_of(parse_graph(msgspec.json.decode(run.prompt)), catalog.display_names if catalog else {})


class _Words(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "a file" if key == "file" else ""


def _words(run: Run, node: str) -> dict[str, Any]:
    failure = run.failure or {}
    details = failure.get("details") or {}
    words = {
        "node": node,
        "said": _first_line(str(failure.get("message") or "")),
        "at": f" in {node}" if failure.get("node_type") else "",
        "why": details.get("why") or "its address did not answer.",
        "timeout": run.timeout_s,
    }
    return words | ({"file": str(details["path"]).rpartition("/")[2]} if "path" in details else {})


def _unread(run: Run, node: str, catalog: Catalog | None) -> Advice | None:
    """A node that could not read a file of the run; None for a failure of another kind."""
    failure = run.failure or {}
    details = failure.get("details") or {}
    value = details.get("value")
    folder = catalog.folder(str(failure.get("node_type")), str(details.get("input"))) if catalog else None
    another = (Action("Choose another", f"/runs/{run.id}/change"),)
    if run.end_reason is not EndReason.NODE_ERROR:
        return None
    if value is not None and folder == INPUT_FOLDER:
        return Advice(f"{node} could not read {value}. Choose another file.", another)
    if value is not None and folder is not None:
        ways = (*another, *ways_to_bring(folder, str(value)))
        return Advice(f"{node} could not read {value}. Choose another model, or bring it again.", ways)
    if str(failure.get("exception_type", "")).endswith(_READING):
        return Advice(f"{node} could not read its file. Choose another file.", another)
    return None


def _problems(node_errors: object, names: Mapping[str, str], catalog: Catalog | None) -> Iterator[Mapping[str, Any]]:
    """ComfyUI's own refusals, as the facts that our validation has."""
    for node_id, entry in node_errors.items() if isinstance(node_errors, dict) else ():
        class_type = str(entry.get("class_type"))
        for error in entry.get("errors", ()):
            extra = error.get("extra_info") or {}
            name = extra.get("input_name")
            yield {
                "type": error.get("type"),
                "node_id": node_id,
                "node": names.get(node_id, class_type),
                "class_type": class_type,
                "input": name,
                "received": extra.get("received_value"),
                "folder": catalog.folder(class_type, str(name)) if catalog else None,
            }


def _first_line(text: str) -> str:
    line = next((line for line in text.splitlines() if line.strip()), "it did not say why")
    return line if len(line) <= MAX_SAID else f"{line[: MAX_SAID - 1]}…"
