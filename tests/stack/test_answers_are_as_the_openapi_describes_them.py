"""The answers of all APIs have the fields that the OpenAPI describes: none is missing, and there are no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator

from tests.stack.graphs import fake_save, node
from tests.stack.stack import Client, Stack

ASKED = {
    ("get", "/api/v1/workflows/{workflow_id}/runs"),
    ("get", "/api/v1/workflows/{workflow_id}/runs/{run_id}"),
    ("get", "/api/v1/runs"),
    ("get", "/api/v1/runs/{run_id}/placement"),
    ("get", "/api/v1/workflows"),
    ("get", "/api/v1/workflows/{workflow_id}"),
    ("get", "/api/v1/files"),
    ("get", "/api/v1/imports"),
    ("get", "/api/v1/accelerators"),
    ("get", "/api/v1/models"),
    ("get", "/api/v1/nodes"),
    ("get", "/api/v1/nodes/{class_type}"),
    ("get", "/api/v1/me"),
    ("get", "/api/v1/usage"),
    ("get", "/api/v1/webhooks/secret"),
    ("get", "/api/v1/webhooks/deliveries"),
    ("get", "/healthz"),
    ("get", "/readyz"),
}


class Described:
    """The answers that a server's own OpenAPI describes; no object may have fields that are not in its schema."""

    def __init__(self, client: Client) -> None:
        self._client, self._document = client, client.http.get("/openapi.json").json()
        for schema in self._document["components"]["schemas"].values():
            if "properties" in schema:
                schema["additionalProperties"] = False

    def check(self, method: str, path: str, answered: httpx2.Response) -> Any:
        described = self._document["paths"][path][method]["responses"]
        response = described.get(str(answered.status_code), described["default"])
        schema = response["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": self._document["components"]}).validate(answered.json())
        return answered.json()

    def of_get(self, prefix: str, values: dict[str, str]) -> Iterator[str]:
        """The paths below a prefix that GET answers with JSON, if the values of their parameters are known."""
        for path, methods in self._document["paths"].items():
            answer = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
            if path.startswith(prefix) and "application/json" in answer and set(PARAMETER.findall(path)) <= set(values):
                yield path

    def ask(self, method: str, path: str, values: dict[str, str], **request: Any) -> Any:
        answered = self._client.http.request(method, path.format(**values), **request)
        return self.check(method, path, answered)


PARAMETER = re.compile(r"{(\w+)}")
HEADER = b'{"__metadata__": {"title": "A model"}}'


@pytest.fixture
def client(shared: Stack) -> Client:
    return shared.client("described")


def test_every_answer_about_runs_and_what_they_use(client: Client) -> None:
    described = Described(client)
    workflow = described.ask("post", "/api/v1/workflows", {}, json={"name": "A", "prompt": fake_save()})
    described.check("post", "/api/v1/files", client.http.post("/api/v1/files?path=/input/a.png", content=b"a"))
    runs = "/api/v1/workflows/{workflow_id}/runs"
    values = {"workflow_id": workflow["id"], "class_type": "FakeSave"}
    body = {"webhook": "http://127.0.0.1:9/nobody", "files": {"/input/b.png": "data:image/png;base64,aGk="}}
    values["run_id"] = described.ask("post", runs, values, json={"prompt": fake_save(), **body})["id"]
    failed = described.ask("post", runs, values, json={"prompt": {"1": node("FakeError", message="no more paint")}})
    assert client.finish(values["run_id"])["outputs"]
    assert client.finish(failed["id"])["error"]

    for method, path in sorted(ASKED):
        described.ask(method, path, values)
    assert {run["id"] for run in described.ask("get", "/api/v1/runs", {})} == {values["run_id"], failed["id"]}
    for by in ("day", "accelerator", "workflow", "key"):
        described.ask("get", "/api/v1/usage", {}, params={"by": by})


def test_every_answer_of_comfy_api_v2_and_of_comfyuis_api(client: Client) -> None:
    described, http = Described(client), client.http
    form, upload = {"content_type": "image/png", "file_path": "b.png"}, {"file": ("b.png", b"b", "image/png")}
    asset = described.check("post", "/api/v2/assets", http.post("/api/v2/assets", data=form, files=upload))
    model = len(HEADER).to_bytes(8, "little") + HEADER
    assert http.put("/comfy/etn/upload/checkpoints/a.safetensors", content=model).status_code == 201
    assert http.post("/comfy/userdata/a.json", json={}).status_code == 200
    client.run(fake_save("described"))
    job, *_ = described.ask("get", "/api/v2/jobs", {})["jobs"]
    values = {"job_id": job["id"], "prompt_id": job["id"], "asset_id": asset["id"], "id": asset["id"]}
    values |= {"class_type": "FakeSave", "folder": "checkpoints", "name": "Comfy.TutorialCompleted"}

    paths = [*described.of_get("/api/v2", values), *described.of_get("/comfy", values)]

    assert len(paths) > 40
    for path in paths:
        described.ask("get", path, values, params={"filename": "a.safetensors"})


def test_every_kind_of_error(client: Client) -> None:
    described, one = Described(client), "/api/v1/runs/{run_id}"

    described.ask("get", one, {"run_id": "nothing"})
    described.ask("get", "/api/v1/runs", {}, params={"limit": "x"})
    described.ask("get", "/api/v1/me", {}, headers={"Authorization": ""})
    described.ask("post", "/api/v1/workflows/{workflow_id}/runs", {"workflow_id": "default"}, content=b"{")
    described.ask("post", "/api/v1/workflows/{workflow_id}/runs", {"workflow_id": "default"}, json={"prompt": {}})
