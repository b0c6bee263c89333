"""Every documented route of Comfy API v2 answers as its OpenAPI file says, in success and in error.

The file is the one that comes with comfy-sdk's source distribution.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blake3
import httpx2
import jsonschema
import pytest
import yaml

from tests import loopback
from tests.stack.graphs import picture, slow
from tests.stack.stack import Client, Stack

BYTES = b"\x89PNG of no picture"
HASH = f"blake3:{blake3.blake3(BYTES).hexdigest()}"
FORM = {"content_type": "image/png", "file_path": "spec.png"}


class Spec:
    """Checks answers against the documented schema of their route and status."""

    def __init__(self, path: Path) -> None:
        self._document: dict[str, Any] = yaml.safe_load(path.read_text())
        self._schemas = _as_json_schema(self._document["components"])
        self.seen: set[tuple[str, str, str]] = set()

    def check(self, answer: httpx2.Response, method: str, route: str) -> httpx2.Response:
        documented = self._document["paths"][f"/api/v2{route}"][method]["responses"]
        status = str(answer.status_code)
        assert status in documented, f"{method} {route} answered {status}: {answer.text}"
        self.seen.add((method, route, status))
        assert answer.headers["x-comfy-request-id"]
        described = documented[status]
        if "$ref" in described:
            described = self._document["components"]["responses"][described["$ref"].rpartition("/")[2]]
        content = described.get("content", {})
        if "application/json" in content:
            schema = _as_json_schema(content["application/json"]["schema"])
            jsonschema.validate(answer.json(), {**schema, "components": self._schemas})
        return answer

    def routes(self) -> set[tuple[str, str]]:
        return {
            (method, route.removeprefix("/api/v2"))
            for route, methods in self._document["paths"].items()
            for method in methods
            if method in ("get", "post", "delete", "head")
        }

    def event(self, name: str, data: Any) -> None:
        events = self._document["paths"]["/api/v2/jobs/{id}/events"]["get"]["x-sse-events"]
        jsonschema.validate(data, {"$ref": events[name]["schema"], "components": self._schemas})


def _as_json_schema(value: Any) -> Any:
    """OpenAPI 3.0's `nullable` in the words of JSON Schema."""
    if isinstance(value, list):
        return [_as_json_schema(each) for each in value]
    if not isinstance(value, dict):
        return value
    schema = {key: _as_json_schema(each) for key, each in value.items() if key not in ("example", "nullable")}
    return {"anyOf": [schema, {"type": "null"}]} if value.get("nullable") is True else schema


@pytest.fixture
def spec(sdk_source: Path) -> Spec:
    return Spec(sdk_source / "spec" / "openapi.yaml")


@pytest.fixture
def v2(real: Stack, client: Client) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {client.key}"}
    with loopback.Client(base_url=f"{real.url}/api/v2", headers=headers, timeout=60) as http:
        yield http


def test_every_route_in_success_and_error(real: Stack, v2: httpx2.Client, spec: Spec) -> None:
    upload = {"file": ("x", BYTES)}
    asset = spec.check(v2.post("/assets", data=FORM, files=upload), "post", "/assets").json()
    assert spec.check(v2.post("/assets", data=FORM, files=upload), "post", "/assets").json()["id"] == asset["id"]
    wrong = {**FORM, "expected_hash": "blake3:" + "0" * 64}
    assert spec.check(v2.post("/assets", data=wrong, files=upload), "post", "/assets").status_code == 409
    assert spec.check(v2.post("/assets", data=FORM), "post", "/assets").status_code == 422
    spec.check(v2.head(f"/assets/by-hash/{HASH}"), "head", "/assets/by-hash/{hash}")
    assert spec.check(v2.head("/assets/by-hash/blake3:x"), "head", "/assets/by-hash/{hash}").status_code == 404
    for body, status in (
        ({"hash": HASH, "file_path": "spec.png"}, 200),
        ({"hash": HASH, "file_path": "second.png", "expires_in": 60}, 201),
        ({"hash": "blake3:" + "0" * 64}, 404),
    ):
        made = spec.check(v2.post("/assets/from-hash", json=body), "post", "/assets/from-hash")
        assert made.status_code == status
    spec.check(v2.get(f"/assets/{asset['id']}"), "get", "/assets/{id}")
    whole = spec.check(v2.get(f"/assets/{asset['id']}/content"), "get", "/assets/{id}/content")
    ranged = v2.get(f"/assets/{asset['id']}/content", headers={"Range": "bytes=1-3"})
    beyond = v2.get(f"/assets/{asset['id']}/content", headers={"Range": "bytes=999-"})
    assert (whole.content, spec.check(ranged, "get", "/assets/{id}/content").content) == (BYTES, b"PNG")
    assert ranged.headers["content-range"] == f"bytes 1-3/{len(BYTES)}"
    assert spec.check(beyond, "get", "/assets/{id}/content").status_code == 416
    with loopback.Client() as stranger:
        assert stranger.get(asset["url"]).content == BYTES  # the link carries its own right
        assert stranger.get(asset["url"].replace("sig=", "sig=0")).status_code == 401
        assert spec.check(stranger.get(f"{v2.base_url}assets/x"), "get", "/assets/{id}").status_code == 401

    job = spec.check(v2.post("/jobs", json={"workflow": picture(prefix="spec")}), "post", "/jobs").json()
    events = list(_events(v2, job["id"], spec))
    done = spec.check(v2.get(f"/jobs/{job['id']}"), "get", "/jobs/{id}").json()
    assert [name for name, _ in events[-2:]] == ["output", "status"]
    assert events[-2][1] == done["outputs"][0] | {key: events[-2][1][key] for key in ("url", "url_expires_at")}
    assert done["metrics"]["execution_ms"] > 0
    assert done["progress"] == {"value": 1.0, "nodes_done": 2, "nodes_total": 2}
    assert spec.check(v2.get(f"/jobs/{job['id']}/workflow"), "get", "/jobs/{id}/workflow").json() == {
        "workflow": picture(prefix="spec"),
        "format": "api",
    }
    running = v2.post("/jobs", json={"workflow": slow(2000)}).json()
    assert "progress" in (name for name, _ in _events(v2, running["id"]))
    cancelled = spec.check(v2.post(f"/jobs/{running['id']}/cancel"), "post", "/jobs/{id}/cancel").json()
    assert cancelled["status"] == "canceling"
    assert list(_events(v2, running["id"], spec))[-1] == ("status", {"status": "canceled", "queue_position": None})
    failed = v2.post("/jobs", json={"workflow": _fails()}).json()
    list(_events(v2, failed["id"], spec))
    error = spec.check(v2.get(f"/jobs/{failed['id']}"), "get", "/jobs/{id}").json()["error"]
    assert (error["code"], error["node_id"], error["class_type"]) == ("node_execution_error", "1", "TestFails")

    for workflow, code in (
        ({"1": {"class_type": "Nothing", "inputs": {}}}, "invalid_workflow"),
        ({"nodes": [], "links": [], "last_node_id": 1}, "workflow_format_ui"),
        (_with_asset({"id": str(uuid.uuid4())}), "missing_asset"),
        (_with_asset({}), "missing_asset"),
    ):
        refused = spec.check(v2.post("/jobs", json={"workflow": workflow}), "post", "/jobs")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, code)
    unknown = str(uuid.uuid4())
    for method, route in (
        ("get", "/jobs/{id}"),
        ("get", "/jobs/{id}/workflow"),
        ("get", "/jobs/{id}/events"),
        ("post", "/jobs/{id}/cancel"),
        ("get", "/assets/{id}"),
        ("get", "/assets/{id}/content"),
        ("delete", "/assets/{id}"),
    ):
        refused = spec.check(v2.request(method, route.replace("{id}", unknown)), method, route)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    assert spec.check(v2.delete(f"/assets/{asset['id']}"), "delete", "/assets/{id}").status_code == 204
    assert spec.check(v2.delete(f"/assets/{asset['id']}"), "delete", "/assets/{id}").status_code == 404

    assert {(method, route) for method, route, _ in spec.seen} == spec.routes()


def test_a_key_is_used_once_and_only_by_a_job_that_was_made(v2: httpx2.Client, spec: Spec) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}

    refused = v2.post("/jobs", json={"workflow": {}}, headers=key)
    made = v2.post("/jobs", json={"workflow": picture()}, headers=key)
    again = spec.check(v2.post("/jobs", json={"workflow": picture()}, headers=key), "post", "/jobs")

    assert (refused.status_code, made.status_code) == (422, 201)
    assert (again.status_code, again.json()["error"]["code"]) == (422, "idempotency_key_reuse")
    for bad in ("", "x" * 256):
        answer = v2.post("/jobs", json={"workflow": picture()}, headers={"Idempotency-Key": bad})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


def test_a_deleted_asset_does_not_break_the_job_that_waits_for_it(v2: httpx2.Client, client: Client) -> None:
    form = {"content_type": "image/png", "file_path": "pinned.png"}
    made = v2.post("/assets", data=form, files={"file": ("x", _png())}).json()
    blocking = v2.post("/jobs", json={"workflow": slow(20)}).json()
    job = v2.post("/jobs", json={"workflow": _with_asset({"id": made["id"]})}).json()

    assert v2.delete(f"/assets/{made['id']}").status_code == 204
    for each in (blocking, job):
        for name, data in _events(v2, each["id"]):
            assert name != "status" or data["status"] != "failed"
    assert v2.get(f"/jobs/{job['id']}").json()["status"] == "succeeded"


def test_jobs_are_listed_in_pages_and_by_labels(v2: httpx2.Client) -> None:
    label = uuid.uuid4().hex
    ids = [
        v2.post("/jobs", json={"workflow": picture(), "metadata": {"batch": label, "n": str(n)}}).json()["id"]
        for n in range(5)
    ]

    listed, cursor = [], None
    while True:
        params = {"metadata[batch]": label, "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = v2.get("/jobs", params=params).json()
        listed += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        if not cursor:
            break

    assert listed == ids[::-1]
    [one] = v2.get("/jobs", params={"metadata[batch]": label, "metadata[n]": "3"}).json()["jobs"]
    assert (one["id"], one["metadata"]) == (ids[3], {"batch": label, "n": "3"})
    for params, code in (
        ({"cursor": "nonsense"}, "invalid_cursor"),
        ({"limit": "0"}, "invalid_request"),
        ({"metadata[no good]": "x"}, "invalid_metadata_filter"),
    ):
        assert v2.get("/jobs", params=params).json()["error"]["code"] == code


def _events(v2: httpx2.Client, job_id: str, spec: Spec | None = None) -> Iterator[tuple[str, Any]]:
    with v2.stream("GET", f"/jobs/{job_id}/events") as stream:
        if spec is not None:
            assert stream.headers["content-type"].startswith("text/event-stream")
            spec.seen.add(("get", "/jobs/{id}/events", "200"))
        name = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                if spec is not None:
                    spec.event(name, data)
                yield name, data


def _fails() -> dict[str, Any]:
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    return {"1": {"class_type": "TestFails", "inputs": {}}, "2": save}


def _with_asset(info: dict[str, str]) -> dict[str, Any]:
    image = {"__type": "core/ASSET", "info": info}
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    return {"1": {"class_type": "LoadImage", "inputs": {"image": image}}, "2": save}


def _png() -> bytes:
    return bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
        "53de0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
    )
