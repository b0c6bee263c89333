"""Files that Python wrote hold NaN and Infinity, which are no JSON; words in texts that look like them stay."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.stack.graphs import node
from tests.stack.stack import Stack

WORDS = 'NaN bread, "NaN", \\"-Infinity\\" and Infinity: [NaN], \\ \u202f é'
GRAPH = {"1": {**node("FakeSave", text=WORDS, strength=float("nan"), high=float("-inf")), "is_changed": [float("nan")]}}
EDITOR = {"nodes": [{"id": 1, "widgets_values": [WORDS, float("nan")]}], "links": [], "version": 0.4}


def as_json() -> tuple[str, bytes]:
    return "flow.json", json.dumps(GRAPH).encode()


def with_mark() -> tuple[str, bytes]:
    return "flow.json", b"\xef\xbb\xbf" + json.dumps(GRAPH, ensure_ascii=False).encode()


def as_png() -> tuple[str, bytes]:
    about, data = PngInfo(), io.BytesIO()
    about.add_text("prompt", json.dumps(GRAPH))
    about.add_text("workflow", json.dumps(EDITOR))
    Image.new("RGB", (8, 8)).save(data, "PNG", pnginfo=about)
    return "flow.png", data.getvalue()


def as_webp() -> tuple[str, bytes]:
    picture, data = Image.new("RGB", (8, 8)), io.BytesIO()
    exif = picture.getexif()
    exif[0x010F], exif[0x0110] = f"workflow:{json.dumps(EDITOR)}", f"prompt:{json.dumps(GRAPH)}"
    picture.save(data, "WEBP", exif=exif)
    return "flow.webp", data.getvalue()


@pytest.fixture
def visitor(shared: Stack) -> Any:
    return shared.visitor("imports")


def test_number_words_inside_texts_stay(visitor: Any, subtests: pytest.Subtests) -> None:
    for make in (as_json, with_mark, as_png, as_webp):
        with subtests.test(make.__name__):
            answer = visitor.post("/workflows/import", files={"file": make()})
            assert answer.status_code == 303, answer.text
            made = visitor.get(f"/api/v1{answer.headers['location']}").json()
            assert made["prompt"] == {"1": node("FakeSave", text=WORDS, strength=None, high=None)}


def test_half_a_character_is_replaced(visitor: Any) -> None:
    data = b'{"1": {"class_type": "FakeSave", "inputs": {"text": "a\\ud800b"}}}'

    answer = visitor.post("/workflows/import", files={"file": ("flow.json", data)})

    made = visitor.get(f"/api/v1{answer.headers['location']}").json()
    assert made["prompt"]["1"]["inputs"] == {"text": "a\ufffdb"}
