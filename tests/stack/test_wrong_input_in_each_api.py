"""Invalid requests get a 4xx in the form of the API they were sent to, and leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.graphs import picture
from tests.stack.stack import Client

pytestmark = pytest.mark.several_servers  # a database may refuse, sort or compare what another does not

FORM = {"content_type": "image/png", "file_path": "x.png"}
UPLOAD = {"files": {"file": ("x", b"x")}}
DEEP = b'{"class_type": "X", "inputs": {"a": %s%s}}' % (b"[" * 500, b"]" * 500)
LABELS = {f"k{number}": "x" for number in range(17)}

V2: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no json": ("POST", "/jobs", {"content": b"{"}),
    "no object": ("POST", "/jobs", {"json": []}),
    "no workflow": ("POST", "/jobs", {"json": {}}),
    "a workflow of a wrong type": ("POST", "/jobs", {"json": {"workflow": "x"}}),
    "no nodes": ("POST", "/jobs", {"json": {"workflow": {}}}),
    "a reserved field": ("POST", "/jobs", {"json": {"workflow": picture(), "webhook_url": "https://h"}}),
    "another reserved field": ("POST", "/jobs", {"json": {"workflow": picture(), "inputs": {}}}),
    "unknown extra data": ("POST", "/jobs", {"json": {"workflow": picture(), "extra_data": {"x": "y"}}}),
    "a key that is no text": (
        "POST",
        "/jobs",
        {"json": {"workflow": picture(), "extra_data": {"api_key_comfy_org": 1}}},
    ),
    "a null key": ("POST", "/jobs", {"json": {"workflow": picture(), "extra_data": {"api_key_comfy_org": None}}}),
    "a graph nested too deep": ("POST", "/jobs", {"content": b'{"workflow": {"1": %s}}' % DEEP}),
    "labels of a wrong type": ("POST", "/jobs", {"json": {"workflow": picture(), "metadata": "x"}}),
    "too many labels": ("POST", "/jobs", {"json": {"workflow": picture(), "metadata": LABELS}}),
    "an id that is none": ("GET", "/jobs/..%2F..%2Fetc", {}),
    "an unknown route": ("GET", "/nothing", {}),
    "a wrong method": ("PUT", "/jobs", {}),
    "a path that leads out": ("POST", "/assets", {"data": {**FORM, "file_path": "../x.png"}, **UPLOAD}),
    "an absolute path": ("POST", "/assets", {"data": {**FORM, "file_path": "/etc/passwd"}, **UPLOAD}),
    "a path with an empty part": ("POST", "/assets", {"data": {**FORM, "file_path": "a//../b.png"}, **UPLOAD}),
    "a models folder": ("POST", "/assets", {"data": {**FORM, "file_path": "models/x"}, **UPLOAD}),
    "no file": ("POST", "/assets", {"data": FORM}),
    "no form": ("POST", "/assets", {"content": b"x"}),
    "no content type": ("POST", "/assets", {"data": {"file_path": "x.png"}, **UPLOAD}),
    "a wrong hash": ("POST", "/assets", {"data": {**FORM, "expected_hash": "md5:x"}, **UPLOAD}),
    "too short a life": ("POST", "/assets", {"data": {**FORM, "expires_in": "59"}, **UPLOAD}),
    "a life without end": ("POST", "/assets", {"data": {**FORM, "expires_in": "000060000" + "9" * 30}, **UPLOAD}),
    "a hash that is none": ("POST", "/assets/from-hash", {"json": {"hash": "x"}}),
    "no hash": ("POST", "/assets/from-hash", {"json": {}}),
}

NATIVE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no json": ("POST", "/prompt", {"content": b"{"}),
    "no object": ("POST", "/prompt", {"json": [1]}),
    "no prompt": ("POST", "/prompt", {"json": {}}),
    "a prompt of a wrong type": ("POST", "/prompt", {"json": {"prompt": 7}}),
    "the editor's format": ("POST", "/prompt", {"json": {"prompt": {"nodes": [], "links": []}}}),
    "a graph nested too deep": ("POST", "/prompt", {"content": b'{"prompt": {"1": %s}}' % DEEP}),
    "an unknown class": ("POST", "/prompt", {"json": {"prompt": {"1": {"class_type": "X", "inputs": {}}}}}),
    "targets that are not there": (
        "POST",
        "/prompt",
        {"json": {"prompt": picture(), "partial_execution_targets": ["x"]}},
    ),
    "a strange prompt id": ("POST", "/prompt", {"json": {"prompt": picture(), "prompt_id": {"x": 1}}}),
    "an endless prompt id": ("POST", "/prompt", {"json": {"prompt": picture(), "prompt_id": "x" * 101}}),
    "a limit that is none": ("GET", "/history?max_items=x", {}),
    "an unknown status": ("GET", "/jobs?status=x", {}),
    "no filename": ("GET", "/view", {}),
    "a filename that leads out": ("GET", "/view?filename=../../etc/passwd&type=input", {}),
    "a subfolder that leads out": ("GET", "/view?filename=x&subfolder=..", {}),
    "an unknown type": ("GET", "/view?filename=x&type=x", {}),
    "no image": ("POST", "/upload/image", {"data": {"x": "y"}, "files": {"other": ("x", b"x")}}),
    "a subfolder of an upload that leads out": (
        "POST",
        "/upload/image",
        {"data": {"subfolder": "../.."}, "files": {"image": ("x.png", b"x")}},
    ),
    "an unknown type of upload": (
        "POST",
        "/upload/image",
        {"data": {"type": "x"}, "files": {"image": ("x.png", b"x")}},
    ),
    "a mask without its picture": ("POST", "/upload/mask", {"files": {"image": ("x.png", b"x")}}),
    "userdata that leads out": ("POST", "/userdata/..%2F..%2Fx", {"content": b"x"}),
    "settings that are no object": ("POST", "/settings", {"json": [1]}),
    "an unknown route": ("GET", "/nothing", {}),
}


def left_behind(client: Client) -> tuple[list[str], list[str]]:
    runs = [run["id"] for run in client.http.get("/api/v1/runs").json()]
    files = [file["path"] for file in client.http.get("/api/v1/files").json()]
    return runs, files


@pytest.mark.parametrize("what", V2)
def test_comfy_api_v2(client: Client, what: str) -> None:
    method, path, request = V2[what]
    before = left_behind(client)

    answer = client.http.request(method, f"/api/v2{path}", **request)

    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"]
    assert error["message"]
    assert answer.headers["x-comfy-request-id"]
    assert left_behind(client) == before


@pytest.mark.parametrize("what", NATIVE)
def test_comfyuis_own_api(client: Client, what: str) -> None:
    method, path, request = NATIVE[what]
    before = left_behind(client)

    answer = client.http.request(method, f"/comfy{path}", **request)

    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()["error"]
    assert set(error) == {"type", "message", "details", "extra_info"}
    assert error["message"]
    assert left_behind(client) == before


@pytest.mark.parametrize(
    ("path", "form"), [("/api/v1/runs", "code"), ("/api/v2/jobs", "error"), ("/comfy/history", "error")]
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer cw_guess"}, {"Authorization": "Basic eDp5"}])
def test_no_key_or_a_wrong_one(client: Client, path: str, form: str, headers: dict[str, str]) -> None:
    answer = client.http.get(path, headers={"Authorization": ""} | headers)

    assert answer.status_code == 401
    assert form in answer.json()
