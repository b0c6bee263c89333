"""Tools that fill in forms send every field, empty or as text, and files without saying how long they are."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

LIMIT = 2 << 20
BOUNDARY = "----tool"

EMPTY: dict[str, Any] = {
    "webhook": "",
    "tags": None,
    "priority": None,
    "timeout": "",
    "start_within": "",
    "files": None,
    "accelerator": "",
    "extra_data": "",
}


@pytest.fixture
def client(shared: Stack) -> Client:
    return shared.client("no-code")


@pytest.fixture
def native(shared: Stack, client: Client) -> Client:
    client.http.headers["X-API-Key"] = client.key
    return client


def test_empty_fields_count_as_absent(client: Client) -> None:
    plain = client.run(fake_save())
    run = client.finish(client.post_run({"prompt": fake_save(), **EMPTY}, **{"Idempotency-Key": ""}).json()["id"])

    for field in ("webhook", "tags", "priority", "timeout", "files", "accelerator", "status", "data"):
        assert run[field] == plain[field], field
    for empty in (
        {"files": {}},
        {"files": ""},
        {"files": [], "extra_data": [], "tags": []},
        {"files": {"": "", "/input/mask.png": None}},
        {"tags": ""},
        {"tags": [""]},
        {"extra_data": None},
        {"webhook": " "},
    ):
        assert client.post_run({"prompt": fake_save(), **empty}).status_code == 200, empty


def test_text_is_read_where_a_number_a_list_or_an_object_is_meant(client: Client) -> None:
    body = {
        "prompt": json.dumps(fake_save("as text")),
        "timeout": "60",
        "priority": "5",
        "tags": "sea, night",
        "files": "{}",
        "extra_data": '{"a": "1"}',
    }
    run = client.finish(client.post_run(body).json()["id"])

    assert run["data"]["prompt"] == fake_save("as text")
    assert run["data"]["extra_data"] == {"a": "1"}
    assert (run["timeout"], run["priority"], run["tags"]) == (60.0, 5, ["sea", "night"])
    for seven in (7.0, "7.0", " 7 "):
        assert client.get(client.post_run({"prompt": fake_save(), "priority": seven}).json()["id"])["priority"] == 7


@pytest.mark.parametrize("wrong", [{"timeout": "soon"}, {"priority": "5.5"}, {"files": "x"}, {"priority": "[1]"}])
def test_text_of_another_kind_is_refused(client: Client, wrong: dict[str, Any]) -> None:
    answer = client.post_run({"prompt": fake_save(), **wrong})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert next(iter(wrong)) in answer.json()["message"]


def test_a_workflow_is_made_and_changed_with_empty_fields(client: Client) -> None:
    empty = {"description": "", "prompt": "", "workflow": None, "tags": None, "visibility": "", "accelerator": ""}
    made = client.http.post("/api/v1/workflows", json={"name": "", **empty}).json()
    assert (made["name"], made["tags"], made["visibility"], made["prompt"]) == ("Untitled", [], "PRIVATE", None)

    path = f"/api/v1/workflows/{made['id']}"
    changed = client.http.patch(path, json={"name": "Tower", "accelerator": "CPU", "tags": "a,b"}).json()
    assert (changed["name"], changed["accelerator"], changed["tags"]) == ("Tower", "CPU", ["a", "b"])
    cleared = client.http.patch(path, json={"name": "", "accelerator": "", "visibility": ""}).json()
    assert (cleared["name"], cleared["accelerator"], cleared["visibility"]) == ("Tower", None, "PRIVATE")


def test_empty_parameters_count_as_absent(client: Client, native: Client) -> None:
    run = client.run(fake_save())
    base = "/api/v1/workflows/default/runs"
    queries = [
        f"{base}?status=&limit=&cursor=&end_reason=&accelerator=",
        f"{base}/{run['id']}?wait=",
        f"/api/v1/runs/{run['id']}?wait=",
        f"{base}/{run['id']}/events?after=",
        "/api/v1/runs?workflow=&limit=",
        "/api/v1/usage?by=&since=&until=",
        "/api/v1/models?folder=",
        "/api/v1/files?prefix=",
        "/api/v1/webhooks/deliveries?run=&limit=",
        "/api/v2/jobs?limit=&cursor=",
        "/comfy/history?max_items=&offset=",
        "/comfy/jobs?status=&limit=&offset=&sort_by=&sort_order=",
    ]
    for query in queries:
        answer = native.http.get(query)
        assert answer.status_code == 200, (query, answer.text)
    assert run["id"] in {each["id"] for each in client.http.get(queries[0]).json()}


def test_comfy_api_v2_reads_them_too(client: Client) -> None:
    body = {"workflow": json.dumps(fake_save()), "extra_data": "", "metadata": "", "webhook_url": "", "inputs": None}
    made = client.http.post("/api/v2/jobs", json=body)

    assert made.status_code == 201, made.text
    form = {"file_path": "e.png", "content_type": "image/png", "expires_in": "", "expected_hash": "", "tags": ""}
    asset = client.http.post("/api/v2/assets", data=form, files={"file": ("e.png", b"bytes")}).json()
    empty = {"file_path": "", "tags": None, "expires_in": ""}
    again = client.http.post("/api/v2/assets/from-hash", json={"hash": asset["hash"], **empty})
    assert again.status_code == 201, again.text
    short = {"hash": asset["hash"], "file_path": "short.png", "expires_in": "60"}
    assert client.http.post("/api/v2/assets/from-hash", json=short).json()["expires_at"] is not None


def test_comfyuis_own_api_reads_them_too(native: Client) -> None:
    empty = {
        "client_id": "",
        "prompt_id": "",
        "extra_data": "",
        "number": "",
        "front": "",
        "partial_execution_targets": "",
    }
    made = native.http.post("/comfy/prompt", json={"prompt": fake_save(), **empty})
    assert made.status_code == 200, made.text
    for yes in ("true", 1, "1"):
        assert native.http.post("/comfy/prompt", json={"prompt": fake_save(), "front": yes}).json()["number"] < 0
    for no in ("false", 0, None):
        assert native.http.post("/comfy/prompt", json={"prompt": fake_save(), "front": no}).json()["number"] > 0

    native.finish(native.submit(fake_save()))
    before = len(native.http.get("/comfy/history").json())
    assert before > 0
    native.http.post("/comfy/history", json={"clear": "false", "delete": ""})
    assert len(native.http.get("/comfy/history").json()) == before
    native.http.post("/comfy/history", json={"delete": made.json()["prompt_id"]})
    assert made.json()["prompt_id"] not in native.http.get("/comfy/history").json()


def form(name: str, data: bytes, fields: dict[str, str]) -> Iterator[bytes]:
    """A form in pieces, so that it is sent without a Content-Length."""
    for field, value in fields.items():
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
    yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="c.png"\r\n\r\n'.encode()
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


UPLOADS = {
    "/api/v1/files": ("file", {"path": "/input/c.png"}),
    "/api/v2/assets": ("file", {"file_path": "c.png", "content_type": "image/png"}),
    "/comfy/upload/image": ("image", {"overwrite": "True"}),
}
SEEN = "/comfy/view?filename=c.png&type=input"
CODES = {"/api/v1/files": 201, "/api/v2/assets": 201, "/comfy/upload/image": 200}


@pytest.mark.parametrize("path", UPLOADS)
def test_a_form_without_content_length_is_taken_up_to_the_limit(native: Client, path: str) -> None:
    field, fields = UPLOADS[path]
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    data = bytes(LIMIT - len(path)) + path.encode()  # each its own

    taken = native.http.post(path, content=form(field, data, fields), headers=headers)

    assert taken.status_code == CODES[path], taken.text
    assert native.http.get(SEEN).content == data
    for size in (LIMIT + 1, 5 * LIMIT):
        refused = native.http.post(path, content=form(field, bytes(size), fields), headers=headers)
        assert refused.status_code == 413, refused.text
    assert native.http.get(SEEN).content == data


@pytest.mark.parametrize("path", ["/api/v1/files", "/api/v2/assets"])
def test_a_file_without_a_name_of_its_own_lies_where_the_form_says(native: Client, path: str) -> None:
    _, fields = UPLOADS[path]
    sent = form("file", path.encode(), fields)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    nameless = b"".join(sent).replace(b'; filename="c.png"', b"")
    taken = native.http.post(path, content=nameless, headers=headers)

    assert taken.status_code == CODES[path], taken.text
    assert native.http.get(SEEN).content == path.encode()


def test_a_file_without_any_name_is_refused(native: Client) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    for path, field in (("/api/v1/files", "file"), ("/comfy/upload/image", "image")):
        nameless = b"".join(form(field, b"x", {})).replace(b'; filename="c.png"', b"")
        refused = native.http.post(path, content=nameless, headers=headers)
        assert refused.status_code == 400, refused.text
        assert "name" in refused.text


@pytest.mark.parametrize("path", UPLOADS)
def test_a_malformed_form_is_refused(native: Client, path: str) -> None:
    for content_type in ("multipart/form-data", f"multipart/form-data; boundary={BOUNDARY}"):
        answer = native.http.post(path, content=iter([b"no form"]), headers={"Content-Type": content_type})
        assert 400 <= answer.status_code < 500, answer.text


def test_raw_bytes_and_pieces_need_no_content_length(client: Client) -> None:
    assert client.http.post("/api/v1/files?path=/input/raw.png", content=iter([b"a", b"b"])).json()["size"] == 2
    assert client.http.post("/api/v1/files?path=/input/raw.png", content=iter([bytes(LIMIT), b"b"])).status_code == 413

    about = {"Upload-Length": "4", "Upload-Metadata": f"path {base64.b64encode(b'/input/p.png').decode()}"}
    place = client.http.post("/api/v1/uploads", headers=about).headers["location"]
    for offset, piece in ((0, b"ab"), (2, b"cd")):
        answer = client.http.patch(place, content=iter([piece]), headers={"Upload-Offset": str(offset)})
        assert answer.status_code == 204
    assert {file["path"] for file in client.http.get("/api/v1/files?prefix=/input/p").json()} == {"/input/p.png"}
