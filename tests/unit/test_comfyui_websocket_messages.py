"""The closed union of what ComfyUI says; anything else is passed over."""

import json
import struct

import pytest

from comfyward.comfy.messages import (
    Cached,
    Executed,
    Executing,
    Failed,
    Finished,
    NodeState,
    NodeStates,
    Preview,
    Progress,
    parse_binary,
    parse_text,
)

NAN = float("nan")
STATE = {"value": 1, "max": 4, "state": "running", "node_id": "5.0.0.1", "prompt_id": "p"}
MADE = {"display_node_id": "5", "parent_node_id": "5", "real_node_id": "5"}


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("execution_cached", {"nodes": ["1"], "prompt_id": "p"}, Cached("p", ("1",))),
        ("executing", {"node": "3", "prompt_id": "p"}, Executing("p", "3", "3")),
        ("executing", {"node": "5.0.0.1", "display_node": "5", "prompt_id": "p"}, Executing("p", "5.0.0.1", "5")),
        (
            "executing",
            {"node": "3", "prompt_id": "p", "comfyward": {"is_output": True, "files": [["a/b.png", 3, 7]]}},
            Executing("p", "3", "3", is_output=True, files={"a/b.png": (3, 7)}),
        ),
        ("executing", {"node": None, "prompt_id": "p"}, Finished("p")),
        (
            "executing",
            {"node": None, "prompt_id": "p", "comfyward": {"history": {"outputs": {"1": {"a": [NAN]}}}}},
            Finished("p", {"outputs": {"1": {"a": [None]}}}),
        ),
        (
            "progress_state",
            {"prompt_id": "p", "nodes": {"5.0.0.1": STATE | MADE}},
            NodeStates("p", (NodeState("5.0.0.1", "running", 1.0, 4.0, "5", "5", "5"),)),
        ),
        ("progress", {"node": "3", "value": 1, "max": 4, "prompt_id": "p"}, Progress("p", "3", 1.0, 4.0)),
        ("executed", {"node": "3", "output": {"a": [1]}, "prompt_id": "p"}, Executed("p", "3", "3", {"a": [1]})),
        ("executed", {"node": "3", "output": None, "prompt_id": "p"}, Executed("p", "3", "3", {})),
        (
            "executed",
            {"node": "3", "output": {"a": [NAN]}, "prompt_id": "p"},
            Executed("p", "3", "3", {"a": [None]}),
        ),
        ("execution_error", {"prompt_id": "p", "node_id": "3"}, Failed("p", {"prompt_id": "p", "node_id": "3"})),
        ("status", {"status": {}}, None),
        ("executing", {"node": "3"}, None),
        ("progress", {"node": "3", "value": "x", "max": 4, "prompt_id": "p"}, None),
        ("progress_state", {"prompt_id": "p", "nodes": []}, None),
    ],
)
def test_text_messages(kind: str, data: dict, message: object) -> None:
    assert parse_text(json.dumps({"type": kind, "data": data})) == message


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"type": 1}', '{"type": "executing", "data": null}'])
def test_unknown_messages_are_ignored(text: str) -> None:
    assert parse_text(text) is None


def test_previews_in_both_forms() -> None:
    assert parse_binary(struct.pack(">II", 1, 2) + b"png") == Preview(None, None, "image/png", b"png")
    about = json.dumps({"prompt_id": "p", "node_id": "3", "image_type": "image/jpeg"}).encode()
    assert parse_binary(struct.pack(">II", 4, len(about)) + about + b"jpg") == Preview("p", "3", "image/jpeg", b"jpg")


@pytest.mark.parametrize("data", [b"", b"\0\0\0\1", struct.pack(">II", 4, 99) + b"short", struct.pack(">II", 9, 0)])
def test_other_binary_messages_are_ignored(data: bytes) -> None:
    assert parse_binary(data) is None
