"""History and jobs list what can be viewed, and show one result of each job in a form that clients know."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from comfyward.api.native.job_shapes import job, job_detail
from comfyward.api.native.shapes import history_entry
from comfyward.runs.output import Output
from comfyward.runs.run import Api, EndReason, Run, State


def an_output(name: str) -> Output:
    return Output(name, name, "d", 1, "image/png")


def run_with(outputs: dict[str, Any], left: tuple[str, ...] = (), previews: tuple[str, ...] = (), **more: Any) -> Run:
    values: dict[str, Any] = {
        **{field.name: None for field in dataclasses.fields(Run)},
        "id": "run1",
        "prompt_id": "p",
        "prompt": "{}",
        "workflow_id": "w",
        "priority": 0,
        "created_at": 1,
        "started_at": 5,
        "finished_at": 9,
        "submitted_via": Api.NATIVE,
        "state": State.SUCCEEDED,
        "end_reason": EndReason.COMPLETED,
        "node_results": msgspec.json.encode({"outputs": outputs, "meta": {}}).decode(),
        "outputs": [an_output(name) for name in left],
        "previews": [an_output(name) for name in previews],
    }
    return Run(**{**values, **more})


def file(name: str, kind: str = "output", subfolder: str = "", **more: Any) -> dict[str, Any]:
    return {"filename": name, "subfolder": subfolder, "type": kind, **more}


def test_files_that_are_gone_are_not_listed() -> None:
    shown = {
        "1": {"images": [file("a.png"), file("gone.png"), file("p.png", "temp"), file("old.png", "temp", "x")]},
        "2": {"images": [file("own.png", "input")], "text": ["words"], "animated": [True]},
        "3": {"images": [file("sub.png", subfolder="s/t")]},
    }
    run = run_with(shown, ("a.png", "s/t/sub.png"), ("p.png",))

    assert history_entry(run, None)["outputs"] == {
        "1": {"images": [file("a.png", subfolder="run1"), file("p.png", "temp", "run1")]},
        "2": {"images": [file("own.png", "input")], "text": ["words"], "animated": [True]},
        "3": {"images": [file("sub.png", subfolder="run1/s/t")]},
    }
    assert job_detail(run)["outputs"] == history_entry(run, None)["outputs"]
    assert job_detail(run)["execution_status"] == history_entry(run, None)["status"]


@pytest.mark.parametrize(
    ("outputs", "preview", "count"),
    [
        (
            {"1": {"text": ["first"]}, "2": {"images": [file("p.png", "temp"), file("a.png")]}},
            {**file("a.png", subfolder="run1"), "nodeId": "2", "mediaType": "images"},
            2,
        ),
        (
            {"2": {"images": [file("p.png", "temp")]}},
            {**file("p.png", "temp", "run1"), "nodeId": "2", "mediaType": "images"},
            1,
        ),
        (
            {"3": {"text": ["x" * 1025]}},
            {"content": "x" * 1024, "truncated": True, "nodeId": "3", "mediaType": "text"},
            0,
        ),
        ({"3": {"text": ["short"]}}, {"content": "short", "nodeId": "3", "mediaType": "text"}, 0),
        ({"3": {"text": "no list", "tags": "a, b", "string": ["s"]}}, None, 0),
        (
            {"4": {"gifs": [file("v.mp4", format="video/h264-mp4", frame_rate=8.0)]}},
            {
                **file("v.mp4", subfolder="run1", format="video/h264-mp4", frame_rate=8.0),
                "nodeId": "4",
                "mediaType": "gifs",
            },
            1,
        ),
        (
            {"5": {"result": ["3d/m.GLB", {"position": [0, 1]}, "", None, 7]}},
            {**file("m.GLB", subfolder="run1/3d"), "nodeId": "5", "mediaType": "3d"},
            1,
        ),
        ({"5": {"result": ["absent.glb", None]}}, None, 0),
        ({"6": {"latents": [file("l.latent")]}}, None, 1),
        ({"7": {"images": [{"url": "https://h"}, {"filename": None}, None, 3], "animated": [True]}}, None, 0),
        ({"8": None, "9": ["list"], "10": "text"}, None, 0),
        (
            {"11": {"files": [file("t.md")]}, "12": {"text": ["raw"]}},
            {**file("t.md", subfolder="run1"), "nodeId": "11", "mediaType": "files"},
            1,
        ),
    ],
)
def test_the_preview_of_a_job(outputs: dict[str, Any], preview: dict[str, Any] | None, count: int) -> None:
    left = ("a.png", "v.mp4", "3d/m.GLB", "l.latent", "t.md")
    shown = job(run_with(outputs, left, ("p.png",)))

    assert shown.get("preview_output") == preview
    assert shown["outputs_count"] == count
    assert None not in shown.values()
