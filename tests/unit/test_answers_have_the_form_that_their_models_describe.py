"""Answers of v2 and of ComfyUI's API have exactly the fields that their models describe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest
from pydantic import BaseModel

from comfyward.api.auth import Auth
from comfyward.api.native import asset_models, asset_shapes, job_shapes
from comfyward.api.native import models as native
from comfyward.api.native import shapes as native_shapes
from comfyward.api.v2 import models as v2
from comfyward.api.v2.shapes import Shapes, progress_of
from comfyward.runs.failure import Failure
from comfyward.runs.output import Output
from comfyward.runs.run import Api, EndReason, Run, State
from comfyward.store.assets import Asset
from comfyward.store.files import StoredFile, new_file

OUTPUT = Output("42", "a.png", "0" * 64, 9, "image/png", "9")
IMAGES = {"9": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}}
FAILURE = Failure("It failed.", node_id="9", node_type="SaveImage", traceback=["line\n"])


class Signing:
    def signature(self, path: str) -> str:
        return "signed"


V2 = Shapes(cast(Auth, Signing()), "http://server", 30)


def run(state: State, **more: Any) -> Run:
    values: dict[str, Any] = {
        **{field.name: None for field in dataclasses.fields(Run)},
        "id": "run1",
        "prompt_id": "p",
        "prompt": '{"9": {"class_type": "SaveImage", "inputs": {}}}',
        "workflow_id": "w",
        "priority": 0,
        "created_at": 1,
        "updated_at": 9,
        "state": state,
        "submitted_via": Api.NATIVE,
        "outputs": [],
        "previews": [],
        "labels": {"a": "b"},
    }
    return Run(**{**values, **more})


QUEUED = run(State.QUEUED)
SUCCEEDED = run(
    State.SUCCEEDED,
    started_at=5,
    finished_at=9,
    end_reason=EndReason.COMPLETED,
    outputs=[OUTPUT],
    node_results=msgspec.json.encode({"outputs": IMAGES, "meta": {}}).decode(),
)
FAILED = run(State.FAILED, started_at=5, finished_at=9, end_reason=EndReason.NODE_ERROR, failure=FAILURE)


def fields(value: Any) -> Any:
    """The names of all fields in a JSON value, without their values."""
    match value:
        case dict():
            return {name: fields(each) for name, each in value.items()}
        case list():
            return [fields(each) for each in value]
        case _:
            return None


def check(model: type[BaseModel], answer: Mapping[str, Any]) -> None:
    sent = msgspec.json.encode(answer)
    described = model.model_validate_json(sent).model_dump(mode="json", exclude_unset=True)
    assert fields(described) == fields(msgspec.json.decode(sent))


@pytest.mark.parametrize("each", [QUEUED, SUCCEEDED, FAILED], ids=lambda each: each.state)
def test_a_job_of_v2(each: Run) -> None:
    check(v2.Job, V2.job(each, progress_of(each, []), 1 if each is QUEUED else None))
    check(v2.ListedJob, V2.listed(each))


def file() -> StoredFile:
    return new_file("account", "/input/a.png", "0" * 64, 9, "image/png", 1)


def test_an_asset_of_v2() -> None:
    check(v2.Asset, V2.asset(file(), "p"))
    check(v2.Asset, V2.asset(file(), None, created_new=True))


@pytest.mark.parametrize("each", [QUEUED, SUCCEEDED, FAILED], ids=lambda each: each.state)
def test_a_job_of_comfyui(each: Run) -> None:
    check(native.Job, job_shapes.job(each))
    check(native.JobDetail, job_shapes.job_detail(each))
    check(native.CloudStatus, native_shapes.cloud_status(each))


@pytest.mark.parametrize("each", [SUCCEEDED, FAILED], ids=lambda each: each.state)
def test_the_queue_and_the_history_of_comfyui(each: Run) -> None:
    check(native.HistoryEntry, native_shapes.history_entry(each, None))
    check(native.QueueState, {"queue_running": [native_shapes.queue_item(each, None)], "queue_pending": []})


def test_an_asset_of_comfyui() -> None:
    check(asset_models.Asset, asset_shapes.asset_shape(Asset(file(), "p")))
