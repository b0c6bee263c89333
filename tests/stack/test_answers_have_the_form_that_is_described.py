"""What a server answers has the form that its own OpenAPI describes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from tests.stack.graphs import fake_save
from tests.stack.stack import Client

JSON = "application/json"
HEADER = b'{"__metadata__": {"title": "A model"}}'


def described(description: dict[str, Any], values: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, schema of its answer) of each GET for JSON, with these values of the parameters in paths."""
    for path, methods in description["paths"].items():
        answer = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {}).get(JSON)
        if answer is None:
            continue
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", value)
        if "{" not in path:
            yield path, {**answer["schema"], "components": description["components"]}


def test_answers_have_the_form_that_is_described(tenant: Client) -> None:
    http = tenant.http
    upload = {"file": ("a.png", b"bytes", "image/png")}
    asset = http.post("/api/v2/assets", data={"content_type": "image/png", "file_path": "a.png"}, files=upload).json()
    http.put("/comfy/etn/upload/checkpoints/a.safetensors", content=len(HEADER).to_bytes(8, "little") + HEADER)
    http.post("/comfy/userdata/a.json", json={})
    run = tenant.run(fake_save())
    prompt_id = http.get("/comfy/api/jobs").json()["jobs"][0]["id"]
    values = {
        "workflow_id": run["workflow_id"],
        "run_id": run["id"],
        "job_id": prompt_id,
        "prompt_id": prompt_id,
        "asset_id": asset["id"],
        "id": asset["id"],
        "class_type": "FakeSave",
        "folder": "checkpoints",
    }

    asked = list(described(http.get("/openapi.json").json(), values))
    assert len(asked) > 50
    for path, schema in asked:
        answer = http.get(path, params={"filename": "a.safetensors"})
        assert answer.status_code == 200, path
        Draft202012Validator(schema).validate(answer.json())
