"""Files of every kind in which ComfyUI and others put a workflow give both of its forms, whatever they are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyward.dispatch.workflow_files import WorkflowFiles
from comfyward.errors import InvalidGraph
from comfyward.files.pictures import Decoders
from comfyward.workflows.carried import Carried
from comfyward.workflows.graph_limit import GraphLimit
from tests import carriers
from tests.carriers import KINDS

LIMIT = GraphLimit(1 << 20)
WORDS = 'NaN "bread" {é}: \\ [Infinity], <b>&amp;</b> ]]'
GRAPH: dict[str, Any] = {"1": {"class_type": "SaveImage", "inputs": {"text": WORDS, "images": ["2", 0]}}}
EDITOR: dict[str, Any] = {"nodes": [{"id": 1, "type": "SaveImage", "widgets_values": [WORDS]}], "links": []}
PROMPT = json.dumps({"1": {**GRAPH["1"], "is_changed": [float("nan")]}})
TEXTS = {"prompt": PROMPT, "workflow": json.dumps(EDITOR)}


async def read(folder: Path, data: bytes) -> Carried:
    (folder / "a file").write_bytes(data)
    return await WorkflowFiles(Decoders(), LIMIT).read("me", folder / "a file")


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
async def test_both_forms_are_found(tmp_path: Path, make: carriers.Maker) -> None:
    assert await read(tmp_path, make(TEXTS)) == Carried(GRAPH, EDITOR)


@pytest.mark.parametrize("make", [carriers.png, carriers.webp, carriers.json_of_both], ids=lambda make: make.__name__)
async def test_one_form_alone_is_found(tmp_path: Path, make: carriers.Maker) -> None:
    assert await read(tmp_path, make({"workflow": TEXTS["workflow"]})) == Carried(None, EDITOR)
    assert await read(tmp_path, make({"prompt": TEXTS["prompt"]})) == Carried(GRAPH, None)


@pytest.mark.parametrize(
    "document",
    [
        GRAPH,
        {"prompt": GRAPH, "client_id": "x"},
        {"prompt": GRAPH, "extra_data": {"extra_pnginfo": {}}},
        {"prompt": json.dumps(GRAPH)},
    ],
)
async def test_json_in_the_apis_form(tmp_path: Path, document: Any) -> None:
    assert await read(tmp_path, b"\xef\xbb\xbf " + json.dumps(document).encode()) == Carried(GRAPH)


async def test_a_saved_request_has_the_editors_form_too(tmp_path: Path) -> None:
    request = {"prompt": GRAPH, "extra_data": {"extra_pnginfo": {"workflow": EDITOR}}}

    assert await read(tmp_path, json.dumps(request).encode()) == Carried(GRAPH, EDITOR)
    assert await read(tmp_path, json.dumps(EDITOR).encode()) == Carried(None, EDITOR)


async def test_videos_of_a_pack_have_both_in_their_comment(tmp_path: Path) -> None:
    """As VideoHelperSuite writes them: one text, the other an object."""
    comment = json.dumps({"prompt": TEXTS["prompt"], "workflow": EDITOR})

    for make in (carriers.video("mp4", "mpeg4"), carriers.video("webm", "libvpx-vp9")):
        assert await read(tmp_path, make({"comment": comment})) == Carried(GRAPH, EDITOR)


async def test_what_another_program_wrote_under_the_same_name_is_passed_over(tmp_path: Path) -> None:
    texts = {"prompt": "a cat", "workflow": TEXTS["workflow"], "comment": "{made by hand}"}

    assert await read(tmp_path, carriers.png(texts)) == Carried(None, EDITOR)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON that can be read"),
        (b"{", "not JSON that can be read"),
        (b"{}", "no ComfyUI workflow"),
        (b"[1]", "no ComfyUI workflow"),
        (b'{"1": {"class_type": "A"}, "2": {}}', "Node '2' has no class_type"),
        (b'{"templates": [{"name": "a", "data": "{}"}]}', "clippings"),
        (b"not a picture", "not JSON that can be read"),
        (("a" + "ö" * 40).encode(), "not JSON that can be read"),  # what is looked at ends within a letter
        (b"\x89not a picture", "could not be read"),
        (b"\0\0\0\x18ftypmp42", "could not be read"),
        (carriers.png({}), "carries no ComfyUI workflow"),
        (carriers.png({"prompt": "a cat"}), "carries no ComfyUI workflow"),
        (carriers.safetensors({"ss_base_model": "sd15"}), "carries no ComfyUI workflow"),
        (b"<html><body>404</body></html>", "carries no ComfyUI workflow"),
    ],
)
async def test_a_file_without_a_workflow_is_refused_in_words(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(InvalidGraph) as refused:
        await read(tmp_path, data)

    assert says in refused.value.message
    assert refused.value.hint
