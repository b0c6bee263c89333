"""What to do about an error at the command line: in options and commands, where the API speaks of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyward.client import ApiError, Run
from comfyward.errors import ComfywardError
from comfyward.workflows.catalog import INPUT_FOLDER

BY_TYPE = {
    "workflow_format_ui": "In ComfyUI choose File > Export (API), and give that file.",
    "missing_node_type": "Replace the node, or ask the operator to install it.",
}
BY_CODE = {
    "unauthenticated": "Give a key with --key or in COMFYWARD_API_KEY; 'comfyward keys create NAME' makes one.",
    "insufficient_credits": "Ask the operator for more credit.",
    "queue_full": "Wait until some of your runs are over: 'comfyward runs list' shows them.",
}
BY_REASON = {
    "timeout": "Give it longer with --timeout SECONDS, or make the graph do less.",
    "validation": "'comfyward runs show {id} --json' has the node and the input.",
    "missing_model": "Bring it: --file /models/FOLDER/NAME=https://….",
    "node_error": "'comfyward runs show {id} --json' has the traceback; the node's inputs are the usual cause.",
    "comfyui_crashed": "'comfyward runs logs {id}' has ComfyUI's last words.",
    "insufficient_credit": "Ask the operator for more credit.",
}


def hint_on(error: ComfywardError) -> str | None:
    """For a request that was refused, or whatever else went wrong."""
    problems = error.details.get("problems") or [{}]
    return (
        _bring(problems[0])
        or BY_TYPE.get(str(error.details.get("type")))
        or (BY_CODE.get(error.code) if isinstance(error, ApiError) else None)
        or error.hint
    )


def hint_on_run(run: Run) -> str | None:
    """For a run that did not succeed."""
    hint = BY_REASON.get(run.end_reason or "")
    return hint.format(id=run.id) if hint else (run.data.get("error") or {}).get("hint")


def _bring(problem: Mapping[str, Any]) -> str | None:
    """How a file comes with the run, for a problem that is about one."""
    folder, name = problem.get("folder"), problem.get("received")
    if problem.get("type") != "value_not_in_list" or not folder or not name:
        return None
    if folder == INPUT_FOLDER:
        return f"Bring the file: --file '/input/{name}=PATH-OR-URL'."
    return f"Bring the model: --file '/models/{folder}/{name}=https://…'."
