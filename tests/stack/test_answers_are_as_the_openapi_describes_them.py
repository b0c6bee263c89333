"""The answers of /api/v1 have the fields that its OpenAPI describes: none is missing, and there are no others."""

from __future__ import annotations

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

    def ask(self, method: str, path: str, values: dict[str, str], **request: Any) -> Any:
        answered = self._client.http.request(method, path.format(**values), **request)
        return self.check(method, path, answered)


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


def test_every_kind_of_error(client: Client) -> None:
    described, one = Described(client), "/api/v1/runs/{run_id}"

    described.ask("get", one, {"run_id": "nothing"})
    described.ask("get", "/api/v1/runs", {}, params={"limit": "x"})
    described.ask("get", "/api/v1/me", {}, headers={"Authorization": ""})
    described.ask("post", "/api/v1/workflows/{workflow_id}/runs", {"workflow_id": "default"}, content=b"{")
    described.ask("post", "/api/v1/workflows/{workflow_id}/runs", {"workflow_id": "default"}, json={"prompt": {}})
