"""ComfyUI's errors as end reasons and failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from comfyward.errors import GraphRefused
from comfyward.python_json import is_deeper
from comfyward.runs.failure import WAS_CANCELLED
from comfyward.runs.log import plain
from comfyward.runs.run import EndReason
from comfyward.worker.protocol import FailureReport
from comfyward.workflows.graph import is_link
from comfyward.workflows.needs import MODEL_SUFFIXES

# Our extension caught a node that gave what it remembers of a file's name where this run brought another file
# (comfyward_extension/reads.py): the run is tried again, in a ComfyUI that remembers nothing.
ANSWERED_FROM_MEMORY = "comfyward.AnsweredFromMemory"
_OF_OUR_EXTENSION = '/comfyward_extension/reads.py", line '  # a frame of what observes nodes, between ComfyUI's own
_OUT_OF_MEMORY = (
    "outofmemoryerror",
    "out of memory",
    "allocation on device",
    "_status_alloc_failed",  # cuBLAS's and cuDNN's own
    "failed to allocate memory for requested buffer",  # ONNX Runtime's
)
# What Python and PyTorch say of the sandbox's limits, and what that means for the caller.
_TOO_MUCH_MEMORY = "The run used more memory than it may."
_OVER_LIMITS = {
    "defaultcpuallocator: ": _TOO_MUCH_MEMORY,
    "[errno 12] ": _TOO_MUCH_MEMORY,
    "[errno 11] ": "The run started more processes or threads than it may.",
    "can't start new thread": "The run started more processes or threads than it may.",
    "[errno 23] ": "The run opened more files than it may.",
    "[errno 24] ": "The run opened more files than it may.",
    "[errno 27] ": "The run wrote a file that is larger than it may be.",
    "[errno 122] ": "The run used more disk space than it may.",
}
# What CUDA says of errors after which "the process must be terminated and relaunched" (its runtime API, cudaError).
_GPU_FAULTS = (
    "illegal memory access",
    "device-side assert",
    "unspecified launch failure",
    "cuda error: misaligned address",
    "an illegal instruction was encountered",
    "hardware stack error",
    "cuda error: invalid program counter",
    "operation not supported on global/shared address space",
    "the launch timed out and was terminated",
    "cuda error: unknown error",
    "_status_execution_failed",  # cuBLAS's and cuDNN's own
    "uncorrectable ecc error",
    "uncorrectable nvlink error",
)


MAX_INPUT_LENGTH = 10_000  # of what is kept of one input of a node that failed
MAX_INPUTS = 100
MAX_LINES, MAX_LINE_LENGTH = 1000, 4000  # of a traceback, and of the nodes that were executed
MAX_FAILURE_BYTES = 8 << 20
MAX_REFUSAL_BYTES, MAX_REFUSAL_DEPTH = 1 << 20, 100


def failure_of_error(error: Mapping[str, Any], nodes: Mapping[str, msgspec.Raw]) -> tuple[EndReason, FailureReport]:
    """The failure of an `execution_error`, with the nodes of the graph that it is about."""
    kind = str(error.get("exception_type", ""))[:MAX_LINE_LENGTH]
    said = plain(str(error.get("exception_message", ""))).strip()[:MAX_INPUT_LENGTH]
    message = f"{_limit_of(kind, said) or ''} {said}".strip() or "A node failed."
    report = FailureReport(
        message=message,
        exception_type=kind,
        node_id=_text(error.get("node_id")),
        node_type=_text(error.get("node_type")),
        traceback=[plain(frame) for frame in _texts(error.get("traceback")) if _OF_OUR_EXTENSION not in frame],
        details=_facts(nodes.get(str(error.get("node_id"))), message),
        executed=_texts(error.get("executed")),
        current_inputs=_inputs(error.get("current_inputs")),
        current_outputs=_texts(error.get("current_outputs")),
    )
    if len(msgspec.json.encode(report)) > MAX_FAILURE_BYTES:
        report = msgspec.structs.replace(report, executed=[], current_inputs={}, current_outputs=[])
    return reason_of(kind, said), report


def failure_of_stop(interrupted: Mapping[str, Any]) -> tuple[EndReason, FailureReport]:
    """The failure of an `execution_interrupted` that nobody asked for: a node can stop its own run."""
    return EndReason.NODE_ERROR, _stopped("A node stopped the run.", interrupted)


def failure_of_cancel(interrupted: Mapping[str, Any]) -> FailureReport:
    """The failure of an `execution_interrupted` that a caller asked for."""
    return _stopped(WAS_CANCELLED, interrupted)


def _stopped(message: str, interrupted: Mapping[str, Any]) -> FailureReport:
    return FailureReport(
        message=message,
        node_id=_text(interrupted.get("node_id")),
        node_type=_text(interrupted.get("node_type")),
        executed=_texts(interrupted.get("executed")),
    )


def _facts(sent: msgspec.Raw | None, message: str) -> dict[str, Any]:
    """The title of the node, and the file that the message is about.

    That is the file that the message names, else the only file of a node without links.
    """
    node = None if sent is None else msgspec.json.decode(sent)
    if not isinstance(node, dict):
        return {}
    meta, inputs = node.get("_meta"), node.get("inputs") or {}
    title = meta.get("title") if isinstance(meta, dict) else None
    facts = {"title": title} if isinstance(title, str) else {}
    about = _file_in(inputs, message)
    return facts if about is None else {**facts, "input": about, "value": inputs[about]}


def _file_in(inputs: Mapping[str, Any], message: str) -> str | None:
    """The input whose file a message is about; None if that is not certain."""
    files = {name: value for name, value in inputs.items() if isinstance(value, str) and "." in value}
    named = next((name for name, value in files.items() if value.removesuffix(" [input]") in message), None)
    if named is not None or len(files) != 1 or any(map(is_link, inputs.values())):
        return named
    return next(iter(files))


def reason_of(exception_type: str, message: str) -> EndReason:
    """The end reason of a node's exception: NODE_ERROR unless something else is known of it."""
    if exception_type == ANSWERED_FROM_MEMORY:
        return EndReason.INTERNAL
    text = f"{exception_type} {message}".lower()
    if any(mark in text for mark in _GPU_FAULTS):
        return EndReason.GPU_FAULT
    if _limit_of(exception_type, message) is not None:
        return EndReason.OVER_LIMIT
    if any(mark in text for mark in _OUT_OF_MEMORY):
        return EndReason.OOM
    return EndReason.NODE_ERROR


def _limit_of(exception_type: str, message: str) -> str | None:
    """A sentence about the limit of the sandbox that a node's exception comes from; None if it comes from none."""
    if exception_type.endswith("MemoryError") and "OutOfMemory" not in exception_type:
        return _TOO_MUCH_MEMORY
    text = f"{exception_type} {message}".lower()
    return next((sentence for mark, sentence in _OVER_LIMITS.items() if mark in text), None)


def failure_of_refusal(refused: GraphRefused) -> tuple[EndReason, FailureReport]:
    """The failure of ComfyUI's own validation, with its `error` and `node_errors` unchanged."""
    error: dict[str, Any] = refused.details["error"]
    node_errors: dict[str, Any] = refused.details["node_errors"]
    node_id = next(iter(node_errors), None)
    entry: dict[str, Any] = node_errors[node_id] if node_id is not None else {}
    errors = entry.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    report = FailureReport(
        message=refused.message[:MAX_INPUT_LENGTH],
        exception_type=str(error.get("type", "invalid_prompt"))[:MAX_LINE_LENGTH],
        node_id=_text(node_id),
        node_type=_text(entry.get("class_type")),
        details={"error": error, "node_errors": node_errors},
    )
    if is_deeper(report.details, MAX_REFUSAL_DEPTH) or len(msgspec.json.encode(report.details)) > MAX_REFUSAL_BYTES:
        report = msgspec.structs.replace(report, details={})
    return _refusal_reason(error, first), report


def _refusal_reason(error: dict[str, Any], first: dict[str, Any]) -> EndReason:
    if "does not exist" in str(error.get("message", "")):
        return EndReason.MISSING_NODE
    about = first.get("extra_info")
    received = str(about.get("received_value", "") if isinstance(about, dict) else "").lower()
    if first.get("type") == "value_not_in_list" and received.endswith(MODEL_SUFFIXES):
        return EndReason.MISSING_MODEL
    return EndReason.VALIDATION


def _inputs(value: object) -> dict[str, Any]:
    """The inputs of the node: numbers unchanged, strings shortened."""
    inputs = list(value.items())[:MAX_INPUTS] if isinstance(value, Mapping) else []
    return {
        str(name)[:MAX_LINE_LENGTH]: [_shortened(each) for each in given][:MAX_INPUTS]
        for name, given in inputs
        if _is_list(given)
    }


def _shortened(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float) else str(value)[:MAX_INPUT_LENGTH]


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _texts(value: object) -> list[str]:
    """The texts in a list, the last ones if there are too many."""
    return [str(each)[:MAX_LINE_LENGTH] for each in value[-MAX_LINES:]] if isinstance(value, list | tuple) else []


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:MAX_LINE_LENGTH]
