"""Hints about errors in terms of options and commands, in place of the API's hints about its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyward.client import ApiError, Run
from comfyward.errors import ComfywardError
from comfyward.workflows.catalog import INPUT_FOLDER

BY_TYPE = {
    "missing_node_type": "'comfyward check FILE' says more; replace the node, or ask the operator to install it.",
}
BY_CODE = {
    "unauthenticated": "Pass a key with --key or in COMFYWARD_API_KEY; 'comfyward keys create NAME' creates one.",
    "insufficient_credits": "Ask the operator for more credit.",
    "queue_full": "Wait until some of your runs have finished: 'comfyward runs list' shows them.",
}
BY_REASON = {
    "timeout": "Allow more time with --timeout SECONDS, or make the graph do less.",
    "validation": "'comfyward runs show {id} --json' shows the node and the input.",
    "missing_model": "Add it to the run: --file /models/FOLDER/NAME=https://…, or 'comfyward check FILE --get'.",
    "node_error": "'comfyward runs show {id} --json' shows the traceback; the node's inputs are the usual cause.",
    "comfyui_crashed": "'comfyward runs logs {id}' shows the end of ComfyUI's log.",
    "insufficient_credit": "Ask the operator for more credit.",
}


def hint_on(error: ComfywardError) -> str | None:
    """The hint about a refused request or any other error; None without one."""
    problems = error.details.get("problems") or [{}]
    return (
        _file_hint(problems[0])
        or (error.hint if problems[0].get("packs") else None)
        or BY_TYPE.get(str(error.details.get("type")))
        or (BY_CODE.get(error.code) if isinstance(error, ApiError) else None)
        or error.hint
    )


def hint_on_run(run: Run) -> str | None:
    """The hint about a run that did not succeed; None without one."""
    hint = BY_REASON.get(run.end_reason or "")
    return hint.format(id=run.id) if hint else (run.data.get("error") or {}).get("hint")


def _file_hint(problem: Mapping[str, Any]) -> str | None:
    """The option that adds a missing file to the run; None for any other problem."""
    folder, name = problem.get("folder"), problem.get("received")
    if problem.get("type") != "value_not_in_list" or not folder or not name:
        return None
    if folder == INPUT_FOLDER:
        return f"Add the file to the run: --file '/input/{name}=PATH-OR-URL'."
    return f"Add the model to the run: --file '/models/{folder}/{name}=https://…', or 'comfyward check FILE --get'."
