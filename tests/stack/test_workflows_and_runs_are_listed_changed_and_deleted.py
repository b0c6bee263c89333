"""The rest of the API: workflows, lists with filters and cursors, retry, delete, what exists."""

import pytest

from tests.stack.graphs import node, picture
from tests.stack.stack import Client, Stack


def test_a_workflow_is_created_changed_run_and_deleted(client: Client) -> None:
    made = client.http.post("/api/v1/workflows", json={"name": "Lighthouse", "prompt": picture(), "tags": ["sea"]})
    assert made.status_code == 201, made.text
    workflow = made.json()
    base = f"/api/v1/workflows/{workflow['id']}"
    assert workflow["id"] in [each["id"] for each in client.http.get("/api/v1/workflows").json()]

    changed = client.http.patch(base, json={"name": "Tower", "accelerator": "CPU"}).json()
    assert (changed["name"], changed["accelerator"], changed["tags"]) == ("Tower", "CPU", ["sea"])

    run_id = client.http.post(f"{base}/runs", json={}).json()["id"]  # its saved graph
    assert client.finish(run_id)["status"] == "COMPLETED"
    assert client.http.get(base).json()["current_run_id"] == run_id

    assert client.http.delete(base).status_code == 204
    assert client.http.get(base).status_code == 404
    assert client.get(run_id)["status"] == "COMPLETED"
    assert client.http.delete("/api/v1/workflows/default").status_code == 409


@pytest.mark.several_servers
def test_runs_are_listed_with_filters_and_cursors(real: Stack) -> None:
    client = real.client("lister")
    good = [client.run(picture(color=number))["id"] for number in range(3)]
    bad = client.run({"1": node("TestFails"), "2": node("SaveImage", images=["1", 0], filename_prefix="x")})
    assert bad["end_reason"] == "node_error"
    assert "this node always fails" in bad["error"]["message"]
    runs = "/api/v1/workflows/default/runs"

    assert [run["id"] for run in client.http.get(runs).json()] == [bad["id"], *reversed(good)]
    assert [run["id"] for run in client.http.get(runs, params={"status": "ERROR"}).json()] == [bad["id"]]
    found, cursor = [], None
    while True:
        page = client.http.get(runs, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        found += [run["id"] for run in page.json()]
        cursor = page.headers.get("X-Next-Cursor")
        if cursor is None:
            break
    assert found == [bad["id"], *reversed(good)]


def test_a_run_is_retried_and_deleted(client: Client) -> None:
    run = client.run(picture(prefix="again"))
    base = f"/api/v1/workflows/{run['workflow_id']}/runs/{run['id']}"

    again = client.finish(client.http.post(f"{base}/retry").json()["id"])
    assert again["id"] != run["id"]
    assert again["data"]["prompt"] == run["data"]["prompt"]

    assert "got prompt" in client.http.get(f"{base}/log").text
    assert client.http.delete(base).status_code == 204
    assert client.http.get(base).status_code == 404
    assert client.http.get(run["output"][0]["url"]).status_code == 404


def test_models_nodes_and_accelerators_are_listed(client: Client) -> None:
    [cpu] = client.http.get("/api/v1/accelerators").json()
    assert (cpu["name"], cpu["workers"]) == ("CPU", 1)
    assert "KSampler" in {each["name"] for each in client.http.get("/api/v1/nodes").json()}
    assert "seed" in client.http.get("/api/v1/nodes/KSampler").json()["input"]["required"]
    assert "checkpoints" in client.http.get("/api/v1/models").json()
    assert client.http.get("/api/v1/me").json()["role"] == "admin"
    page = client.http.get("/docs").text
    assert "Create a run" in page
    assert "idempotency-key" in page.lower()
    assert "<script" not in page, "it works with no internet, and with a strict policy"
    paths = client.http.get("/openapi.json").json()["paths"]
    assert "/api/v1/workflows/{workflow_id}/runs" in paths
    assert "comfyward_workers" in client.http.get("/metrics").text
