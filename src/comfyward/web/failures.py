"""The explanation of a failed run on its page: a sentence for its user, and buttons that help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from comfyward.runs.failure import WAS_CANCELLED, Failure
from comfyward.runs.run import EndReason, Run, State
from comfyward.web.problems import Action, Advice, on_problems, ways_to_add
from comfyward.workflows.catalog import INPUT_FOLDER, Catalog
from comfyward.workflows.graph import names_of, parse_graph

MAX_MESSAGE = 400
# Exceptions that mean an unreadable file, whichever library reads it.
_UNREADABLE = (
    "UnidentifiedImageError",
    "SafetensorError",
    "UnpicklingError",
    "BadZipFile",
    "InvalidDataError",
    "EOFError",
)
SENTENCES: dict[EndReason, str] = {
    EndReason.COMPLETED: "The run succeeded.",
    EndReason.CANCELLED: WAS_CANCELLED,
    EndReason.TIMEOUT: "The run exceeded its timeout of {timeout:g} s. Reduce its work and run it again.",
    EndReason.VALIDATION: "ComfyUI rejected this workflow. Open it in the editor to see why.",
    EndReason.MISSING_NODE: "A node of this workflow is not installed. Replace it, or ask an admin to install it.",
    EndReason.MISSING_MODEL: "A model of this workflow was not found.",
    EndReason.DOWNLOAD: "{file} could not be downloaded: {why} Check its URL and run it again.",
    EndReason.HOST_BUSY: "{file} could not be downloaded: {why} Run it again later.",
    EndReason.NODE_ERROR: "{node} failed: {message}",
    EndReason.OVER_LIMIT: "{file} exceeds the size limit of this server.",
    EndReason.INSUFFICIENT_CREDIT: "You have used all of your credits. Ask an admin for more.",
    EndReason.OOM: "The accelerator ran out of memory{at}. Use a larger accelerator, or a smaller image or batch size.",
    EndReason.GPU_FAULT: "The accelerator failed{at}. Run it again.",
    EndReason.COMFYUI_CRASHED: "ComfyUI crashed during the run. Its log may say why.",
    EndReason.WORKER_LOST: "The worker was lost during the run. Run it again.",
    EndReason.STORAGE_FULL: "The worker ran out of disk space. Contact an admin.",
    EndReason.INTERNAL: "Something went wrong on the server. Run it again; if the problem persists, contact an admin.",
}


def advices_on(run: Run, catalog: Catalog | None) -> list[Advice]:
    """The explanations of a failed run; none for one that succeeded or has not finished."""
    if run.failure is None or run.end_reason is None or run.state is State.SUCCEEDED:
        return []
    failure, names = run.failure, node_names(run, catalog)
    if problems := list(_problems(failure.facts.get("node_errors"), names, catalog)):
        return on_problems(problems, run.workflow_id, f"/runs/{run.id}/change")
    # A node that was created at run time has no name of its own.
    node = names.get(str(failure.node_id), str(failure.node_type or "A node"))
    return [_unreadable_file(run, node, catalog) or _advice_on(run, failure, run.end_reason, node)]


def _advice_on(run: Run, failure: Failure, reason: EndReason, node: str) -> Advice:
    editor = Action("Open in editor", f"/workflows/{run.workflow_id}/edit?run={run.id}")
    change = Action("Run with changes", f"/runs/{run.id}/change")
    sentence = SENTENCES[reason].format_map(_Values(_values(run, node)))
    match reason:
        case EndReason.TIMEOUT if run.started_at is None:
            return Advice("The run did not start before its deadline. Run it again.")
        case EndReason.OVER_LIMIT if "path" not in failure.facts:
            return Advice(failure.message)
        case EndReason.DOWNLOAD if "secret" in failure.facts:
            file = _values(run, node).get("file", "A file")
            actions = (Action("Secrets", "/account/secrets"), change)
            return Advice(f"{file} could not be downloaded. {failure.hint}", actions)
        case EndReason.NODE_ERROR:
            return Advice(sentence, (change, editor))
        case EndReason.VALIDATION | EndReason.MISSING_NODE | EndReason.MISSING_MODEL:
            return Advice(sentence, (editor,))
        case EndReason.OOM | EndReason.TIMEOUT | EndReason.OVER_LIMIT | EndReason.DOWNLOAD:
            return Advice(sentence, (change,))
        case EndReason.INSUFFICIENT_CREDIT:
            return Advice(sentence, (Action("Usage", "/account/usage"),))
        case _:
            return Advice(sentence)


def node_names(run: Run, catalog: Catalog | None) -> dict[str, str]:
    """Display names of the run's nodes, by id."""
    return names_of(parse_graph(msgspec.json.decode(run.prompt)), catalog.display_names if catalog else {})


class _Values(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "A file" if key == "file" else ""


def _values(run: Run, node: str) -> dict[str, Any]:
    failure = run.failure or Failure("")
    details = failure.facts
    values = {
        "node": node,
        "message": _first_line(failure.message),
        "at": f" in {node}" if failure.node_type else "",
        "why": details.get("why") or "its server did not respond.",
        "timeout": run.timeout_s,
    }
    return values | ({"file": str(details["path"]).rpartition("/")[2]} if "path" in details else {})


def _unreadable_file(run: Run, node: str, catalog: Catalog | None) -> Advice | None:
    """The explanation of a node that could not read a file of the run; None for other failures."""
    failure = run.failure or Failure("")
    details = failure.facts
    value = details.get("value")
    folder = catalog.folder(str(failure.node_type), str(details.get("input"))) if catalog else None
    another = (Action("Choose another", f"/runs/{run.id}/change"),)
    if run.end_reason is not EndReason.NODE_ERROR:
        return None
    if value is not None and folder == INPUT_FOLDER:
        return Advice(f"{node} could not read {value}. Choose another file.", another)
    if value is not None and folder is not None:
        ways = (*another, *ways_to_add(folder, str(value)))
        return Advice(f"{node} could not read {value}. Choose another model, or add it again.", ways)
    if str(failure.exception_type).endswith(_UNREADABLE):
        return Advice(f"{node} could not read its file. Choose another file.", another)
    return None


def _problems(node_errors: object, names: Mapping[str, str], catalog: Catalog | None) -> Iterator[Mapping[str, Any]]:
    """ComfyUI's validation errors in the form of our own."""
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
    line = next((line for line in text.splitlines() if line.strip()), "no error message")
    return line if len(line) <= MAX_MESSAGE else f"{line[: MAX_MESSAGE - 1]}…"
