"""The APIs agree, each in its own format, on runs and their files, lists and models."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from tests.fakes.http import Origin
from tests.stack.graphs import fake_save, fake_wait, node
from tests.stack.stack import Client, Stack

# How each API says that a run has ended: /api/v1 (with its end_reason), /api/v2, ComfyUI's jobs, its history.
ENDS = {
    "saved": ("COMPLETED", "completed", "succeeded", "completed", "success"),
    "failed": ("ERROR", "node_error", "failed", "failed", "error"),
    "cancelled": ("ERROR", "cancelled", "canceled", "cancelled", "error"),
}


def saved(client: Client) -> str:
    return client.submit(fake_save("the same everywhere"))


def failed(client: Client) -> str:
    graph = {"1": node("FakeQuiet", name="left.txt"), "2": node("FakeError", message="no more paint")}
    return client.submit(graph)


def cancelled(client: Client) -> str:
    run_id = client.submit(fake_wait(60))
    client.wait_for(run_id, "status", state="running")
    client.cancel(run_id)
    return run_id


@pytest.mark.parametrize("submitted", [saved, failed, cancelled])
def test_a_run_and_its_files(shared: Stack, submitted: Any) -> None:
    client = shared.client(f"alike {submitted.__name__}")
    run = client.finish(submitted(client))
    name = run["prompt_id"]

    job = client.http.get(f"/api/v2/jobs/{name}").json()
    native = client.http.get(f"/comfy/api/jobs/{name}").json()
    history = client.http.get(f"/comfy/history/{name}").json()[name]

    how = (run["status"], run["end_reason"], job["status"], native["status"], history["status"]["status_str"])
    assert how == ENDS[submitted.__name__]
    for of_run, of_job, of_native in (
        ("created_at", "created_at", "create_time"),
        ("started_at", "started_at", "execution_start_time"),
        ("completed_at", "completed_at", "execution_end_time"),
    ):
        assert run[of_run] == job[of_job] == _iso(native[of_native])
    assert (run["run_time"], run["queue_time"]) == (job["metrics"]["execution_ms"], job["metrics"]["queue_ms"])
    assert run["data"]["prompt"] == client.http.get(f"/api/v2/jobs/{name}/workflow").json()["workflow"]
    assert run["data"]["prompt"] == native["workflow"]["prompt"] == history["prompt"][2]
    assert _files_of_v1(client, run) == _files_of_v2(client, job)
    if submitted is saved:
        assert {n: data for n, (data, *_) in _files_of_v1(client, run).items()} == _files_of_history(client, history)
    if submitted is failed:
        error = native["execution_error"]
        assert run["error"]["message"] == job["error"]["message"] == error["exception_message"]
        assert run["error"]["node_id"] == job["error"]["node_id"] == error["node_id"] == "2"
        assert "".join(run["error"]["traceback"]) == job["error"]["traceback"] == "".join(error["traceback"])


def test_the_list_of_runs(shared: Stack) -> None:
    client = shared.client("alike lists")
    made = [client.run(fake_save(str(number)))["prompt_id"] for number in range(3)]

    v1 = [run["prompt_id"] for run in client.http.get("/api/v1/runs").json()]
    v2 = [job["id"] for job in client.http.get("/api/v2/jobs").json()["jobs"]]
    native = [job["id"] for job in client.http.get("/comfy/api/jobs").json()["jobs"]]

    assert v1 == v2 == native == made[::-1]
    assert sorted(client.http.get("/comfy/history").json()) == sorted(made)


def test_the_files_of_an_account(shared: Stack) -> None:
    client = shared.client("alike files")
    for path in ("/input/a.txt", "/input/sub/b.txt", "/models/loras/style.safetensors"):
        client.http.post("/api/v1/files", params={"path": path}, content=path.encode()).raise_for_status()

    v1 = {file["path"]: (file["digest"], file["size"]) for file in client.http.get("/api/v1/files").json()}
    assets = client.http.get("/comfy/api/assets").json()["assets"]
    v2 = [client.http.get(f"/api/v2/assets/{asset['id']}").json() for asset in assets]

    assert sorted(v1.values()) == sorted((asset["hash"], asset["size"]) for asset in assets)
    assert v1 == {_path(asset["file_path"]): (asset["hash"], asset["size_bytes"]) for asset in v2}


def test_the_models_of_an_account(shared: Stack, site: Origin) -> None:
    """Those of the workers, those that were uploaded, and those that a run brought by URL."""
    client = shared.client("alike models")
    client.http.post("/api/v1/files", params={"path": "/models/vae/mine.safetensors"}, content=b"1").raise_for_status()
    brought = {"/models/loras/style.ckpt": site.put("/style.ckpt", b"style")}
    run = client.run(fake_save(), files=brought)
    assert run["status"] == "COMPLETED", run["error"]

    models = client.http.get("/api/v1/models").json()

    assert models["loras"] == ["style.ckpt"]
    assert models["vae"] == ["mine.safetensors"]
    assert list(models) == client.http.get("/comfy/models").json()
    assert models == {folder: client.http.get(f"/comfy/models/{folder}").json() for folder in models}
    assert models == {folder: list(client.http.get(f"/comfy/api/etn/model_info/{folder}").json()) for folder in models}


def _files_of_v1(client: Client, run: dict[str, Any]) -> dict[str, Any]:
    return {
        each["filename"].rpartition("/")[2]: (
            client.http.get(each["url"]).content,
            each["digest"],
            each["size"],
            each["content_type"],
            each["node_id"] or "",
        )
        for each in run["outputs"]
    }


def _files_of_v2(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    return {
        each["name"]: (
            client.http.get(each["url"]).content,
            each["hash"],
            each["size_bytes"],
            each["content_type"],
            each["node_id"],
        )
        for each in job["outputs"]
    }


def _files_of_history(client: Client, history: dict[str, Any]) -> dict[str, bytes]:
    shown = [item for result in history["outputs"].values() for items in result.values() for item in items]
    return {item["filename"]: client.http.get("/comfy/view", params=item).content for item in shown}


def _path(file_path: str) -> str:
    return f"/{file_path}" if file_path.startswith("models/") else f"/input/{file_path}"


def _iso(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"
