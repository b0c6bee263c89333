"""Codes, links and places of Comfy API v2 that its official servers give, beyond what the SDKs look at."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack


@pytest.fixture
def client(shared: Stack) -> Client:
    return shared.client("v2")


def upload(client: Client, file_path: str, data: bytes, **fields: str) -> tuple[int, dict[str, Any]]:
    form = {"file_path": file_path, "content_type": "image/png", **fields}
    answer = client.http.post("/api/v2/assets", data=form, files={"file": ("x", data)})
    return answer.status_code, answer.json()


@pytest.mark.parametrize("body", [{}, {"workflow": None}, {"workflow": ""}, {"workflow": []}, {"workflow": "text"}])
def test_a_missing_workflow(client: Client, body: dict[str, Any]) -> None:
    answer = client.http.post("/api/v2/jobs", json=body, headers={"Idempotency-Key": "missing"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_workflow")


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"extra_data": {"extra_pnginfo": {}}}, 400, "invalid_request"),
        ({"extra_data": {"api_key_comfy_org": None}}, 400, "invalid_request"),
        ({"extra_data": [1]}, 400, "invalid_request"),
        ({"webhook_url": "https://example.com/hook"}, 422, "invalid_request"),
        ({"inputs": {"a": 1}}, 422, "invalid_request"),
        ({"metadata": {"a": 1}}, 422, "metadata_invalid"),
    ],
)
def test_reserved_job_options_are_refused(client: Client, more: dict[str, Any], status: int, code: str) -> None:
    answer = client.http.post("/api/v2/jobs", json={"workflow": fake_save(), **more})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_the_same_bytes_under_a_second_name_are_no_new_blob(client: Client) -> None:
    status, first = upload(client, "one.png", b"same")
    assert (status, first["created_new"]) == (201, True)
    status, second = upload(client, "two.png", b"same")
    assert (status, second["created_new"], second["file_path"]) == (200, False, "two.png")
    status, third = upload(
        client, "three.png", b"same", expected_hash=second["hash"].upper().replace("BLAKE3", "blake3")
    )
    assert (status, third["created_new"]) == (200, False)
    assert len({first["id"], second["id"], third["id"]}) == 3
    assert upload(client, "one.png", b"other")[0] == 201


def test_bytes_of_another_account_are_new_here(shared: Stack, client: Client) -> None:
    upload(client, "secret.png", b"only mine")
    status, asset = upload(shared.client("v2-other"), "secret.png", b"only mine")
    assert (status, asset["created_new"]) == (201, True)


def test_an_asset_lies_where_a_graph_finds_it(client: Client) -> None:
    for number, (file_path, path) in enumerate(
        (
            ("plain.png", "/input/plain.png"),
            ("input/rooted.png", "/input/rooted.png"),
            ("input/deep/er.png", "/input/deep/er.png"),
            ("folder/x.png", "/input/folder/x.png"),
            ("models/loras/x.safetensors", "/models/loras/x.safetensors"),
        )
    ):
        status, asset = upload(client, file_path, b"lies %d" % number)
        assert status == 201, asset
        assert asset["file_path"] == file_path.removeprefix("input/")
        assert path in {file["path"] for file in client.http.get("/api/v1/files").json()}
        minted = {"hash": asset["hash"], "file_path": file_path}
        assert client.http.post("/api/v2/assets/from-hash", json=minted).json()["id"] == asset["id"]


def test_links_are_absolute(shared: Stack, client: Client) -> None:
    job = client.http.post("/api/v2/jobs", json={"workflow": fake_save()}).json()
    own = f"{shared.url}/api/v2/jobs/{job['id']}"
    assert job["urls"] == {"self": own, "events": f"{own}/events", "cancel": f"{own}/cancel"}
    assert client.http.get(job["urls"]["self"]).json()["id"] == job["id"]
    assert client.http.get(job["urls"]["events"]).status_code == 200


def test_links_lead_to_the_public_address(start_fake: StartFake) -> None:
    stack = start_fake(fleet="none", accelerators="CPU", public_url="https://comfy.example.com/")
    job = stack.client().http.post("/api/v2/jobs", json={"workflow": fake_save()}).json()
    assert job["urls"]["self"] == f"https://comfy.example.com/api/v2/jobs/{job['id']}"
