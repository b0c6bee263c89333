"""ComfyUI's own API over the runs of an account: prompts, queue, history, jobs, the websocket, the editor's data."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from websockets.sync.client import ClientConnection, connect

from comfyward.comfy.releases import DEFAULT
from tests import loopback
from tests.stack.graphs import node, picture, slow
from tests.stack.stack import Client, Stack
from tests.stack.waiting import until

LIMIT_S = 60


@pytest.fixture
def client(real: Stack) -> Client:
    """An account that has no runs of other tests in its queue."""
    return real.client("comfyui's own")


@pytest.fixture
def comfyui(real: Stack, client: Client) -> Iterator[httpx2.Client]:
    """An account's ComfyUI, below /comfy, with the key as X-API-Key."""
    with loopback.Client(base_url=f"{real.url}/comfy", headers={"X-API-Key": client.key}, timeout=LIMIT_S) as http:
        yield http


@pytest.fixture
def socket(real: Stack, client: Client) -> Iterator[ClientConnection]:
    url = f"{real.url.replace('http', 'ws')}/comfy/ws?clientId=test&token={client.key}"
    with connect(url, open_timeout=LIMIT_S) as opened:
        yield opened


def until_idle(socket: ClientConnection, prompt_id: str) -> list[tuple[str, Any]]:
    """The messages until the prompt is over; an image is ("binary", bytes)."""
    said: list[tuple[str, Any]] = []
    while True:
        message = socket.recv(timeout=LIMIT_S)
        if isinstance(message, bytes):
            said.append(("binary", message))
            continue
        envelope = json.loads(message)
        said.append((envelope["type"], envelope["data"]))
        if envelope["type"] == "executing" and envelope["data"] == {
            "node": None,
            "display_node": None,
            "prompt_id": prompt_id,
        }:
            return said


@pytest.mark.several_servers
@pytest.mark.engine
def test_a_prompt_from_queue_to_history(comfyui: httpx2.Client, socket: ClientConnection) -> None:
    prompt_id = str(uuid.uuid4())
    body = {
        "prompt": picture(color=0xABCDEF, prefix="native"),
        "client_id": "test",
        "prompt_id": prompt_id,
        "extra_data": {"x": 1},
    }

    answer = comfyui.post("/prompt", content=json.dumps(body), headers={"Content-Type": "text/plain"}).json()
    said = until_idle(socket, prompt_id)
    entry = comfyui.get(f"/history/{prompt_id}").json()[prompt_id]

    assert answer == {"prompt_id": prompt_id, "number": answer["number"], "node_errors": {}}
    assert isinstance(answer["number"], int)
    kinds = [kind for kind, _ in said]
    assert kinds[0] == "status"
    assert [kind for kind in kinds if kind not in ("status", "progress_state")] == [
        "execution_start",
        "execution_cached",
        "executing",
        "executing",
        "executed",
        "execution_success",
        "executing",
    ]
    assert said[0][1]["sid"] == "test"
    number, entry_id, prompt, extra_data, outputs = entry["prompt"]
    assert (number, entry_id, prompt, outputs) == (answer["number"], prompt_id, body["prompt"], ["2"])
    assert extra_data["x"] == 1
    assert extra_data["client_id"] == "test"
    assert entry["status"]["status_str"] == "success"
    [image] = entry["outputs"]["2"]["images"]
    seen = comfyui.get("/api/view", params=image)
    assert seen.content[:4] == b"\x89PNG"
    assert seen.headers["content-disposition"] == 'inline; filename="native_00001_.png"'
    assert comfyui.get("/view", params={**image, "preview": "jpeg;50"}).headers["content-type"] == "image/jpeg"
    assert comfyui.get("/view", params=image, headers={"Range": "bytes=1-3"}).content == b"PNG"
    outside = comfyui.get("/view", params=image, headers={"Range": "bytes=999999-"})
    assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{len(seen.content)}")
    assert comfyui.get("/view", params={"filename": "native_00001_.png"}).status_code == 200  # as an old client asks
    assert prompt_id in comfyui.get("/history", params={"max_items": 1}).json()


@pytest.mark.several_servers
@pytest.mark.engine
def test_previews_are_seen_for_a_while_and_are_no_outputs(comfyui: httpx2.Client, client: Client) -> None:
    graph = picture(color=0x123456) | {"3": node("PreviewImage", images=["1", 0])}
    prompt_id = comfyui.post("/prompt", json={"prompt": graph}).json()["prompt_id"]
    run = client.finish(_run_id(client, prompt_id))

    [preview] = comfyui.get(f"/history/{prompt_id}").json()[prompt_id]["outputs"]["3"]["images"]

    assert preview["type"] == "temp"
    assert comfyui.get("/view", params=preview).content[:4] == b"\x89PNG"
    assert len(run["output"]) == 1
    again = {"1": node("LoadImage", image=f"{preview['subfolder']}/{preview['filename']} [temp]"), "2": graph["2"]}
    prompt_id = comfyui.post("/prompt", json={"prompt": again}).json()["prompt_id"]
    assert client.finish(_run_id(client, prompt_id))["status"] == "COMPLETED"


@pytest.mark.several_servers
@pytest.mark.engine
def test_a_running_prompt_is_interrupted_and_a_waiting_one_taken_out(
    comfyui: httpx2.Client, socket: ClientConnection
) -> None:
    running = comfyui.post("/prompt", json={"prompt": slow(2000), "client_id": "test"}).json()["prompt_id"]
    waiting = comfyui.post("/prompt", json={"prompt": slow(2001), "client_id": "test"}).json()["prompt_id"]
    while json.loads(socket.recv(timeout=LIMIT_S))["type"] != "progress":
        pass

    queue = comfyui.get("/queue").json()
    jobs = comfyui.get("/api/jobs", params={"status": "in_progress,pending"}).json()
    comfyui.post("/queue", json={"delete": [waiting]})
    comfyui.post("/interrupt", content=b"")
    said = until_idle(socket, running)

    assert [item[1] for item in queue["queue_running"]][:1] == [running]
    listed = {item[1] for item in (*queue["queue_running"], *queue["queue_pending"])}
    assert listed == {running, waiting} == {job["id"] for job in jobs["jobs"]}
    [stopped] = [data for kind, data in said if kind == "execution_interrupted" and data["prompt_id"] == running]
    assert (stopped["node_id"], stopped["node_type"], stopped["executed"]) == ("1", "TestSteps", [])
    # A worker may have had the waiting one, and tells of both ends in any order.
    until(lambda queue: queue == {"queue_running": [], "queue_pending": []}, lambda: comfyui.get("/queue").json())
    entry = comfyui.get(f"/history/{running}").json()[running]
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    assert comfyui.get(f"/history/{waiting}").json() == {}
    assert comfyui.get(f"/api/jobs/{running}").json()["status"] == "cancelled"
    assert comfyui.get("/prompt").json() == {"exec_info": {"queue_remaining": 0}}


@pytest.mark.engine
def test_a_node_that_fails_says_so_on_the_websocket(comfyui: httpx2.Client, socket: ClientConnection) -> None:
    graph = {"1": node("TestFails"), "2": node("SaveImage", images=["1", 0], filename_prefix="x")}
    prompt_id = comfyui.post("/prompt", json={"prompt": graph, "client_id": "test"}).json()["prompt_id"]

    [error] = [data for kind, data in until_idle(socket, prompt_id) if kind == "execution_error"]

    assert (error["node_id"], error["node_type"], error["exception_type"]) == ("1", "TestFails", "ValueError")
    assert error["traceback"]
    assert [frame for frame in error["traceback"] if "comfyward_extension" in frame] == []
    job = comfyui.get(f"/api/jobs/{prompt_id}").json()
    assert (job["status"], job["execution_error"]["exception_type"]) == ("failed", "ValueError")


@pytest.mark.several_servers
def test_a_second_socket_of_a_client_takes_over_with_the_current_state(
    real: Stack, client: Client, comfyui: httpx2.Client, socket: ClientConnection
) -> None:
    prompt_id = comfyui.post("/prompt", json={"prompt": slow(2000), "client_id": "test"}).json()["prompt_id"]
    while json.loads(socket.recv(timeout=LIMIT_S))["type"] != "progress":
        pass

    with connect(f"{real.url.replace('http', 'ws')}/comfy/api/ws?clientId=test&token={client.key}") as second:
        assert json.loads(second.recv(timeout=LIMIT_S))["type"] == "status"
        while (now := json.loads(second.recv(timeout=LIMIT_S)))["type"] != "executing":
            pass  # of another server it hears a moment later
        assert now["data"]["node"] == "1"
        comfyui.post("/interrupt")
        assert until_idle(second, prompt_id)


def test_idle_sockets_get_a_status(socket: ClientConnection) -> None:
    assert json.loads(socket.recv(timeout=LIMIT_S))["type"] == "status"
    socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
    assert json.loads(socket.recv(timeout=LIMIT_S))["data"]["supports_preview_metadata"] is True

    assert json.loads(socket.recv(timeout=LIMIT_S))["type"] == "status"  # nothing happens, and it is said


@pytest.mark.engine
def test_a_part_of_a_graph_runs_alone_and_in_front(comfyui: httpx2.Client, client: Client) -> None:
    graph = picture(prefix="wanted") | {"9": node("SaveImage", images=["1", 0], filename_prefix="unwanted")}
    body = {"prompt": graph, "partial_execution_targets": ["2"], "front": True}

    answer = comfyui.post("/prompt", json=body).json()
    run = client.finish(_run_id(client, answer["prompt_id"]))

    assert answer["number"] < 0
    assert run["priority"] == 1
    assert [output["filename"].rpartition("/")[2] for output in run["output"]] == ["wanted_00001_.png"]


def test_the_history_is_cleared_and_the_runs_stay(comfyui: httpx2.Client, client: Client) -> None:
    ids = [comfyui.post("/prompt", json={"prompt": picture(color=n)}).json()["prompt_id"] for n in (1, 2)]
    runs = [client.finish(_run_id(client, prompt_id)) for prompt_id in ids]

    comfyui.post("/history", json={"delete": [ids[0]]})
    assert ids[0] not in comfyui.get("/history").json()
    assert ids[1] in comfyui.get("/history").json()
    comfyui.post("/history", json={"clear": True})
    assert comfyui.get("/history").json() == {}

    assert [client.get(run["id"])["status"] for run in runs] == ["COMPLETED", "COMPLETED"]


def test_a_workflows_path_shows_that_workflow_only(real: Stack, client: Client) -> None:
    ids = [client.http.post("/api/v1/workflows", json={"name": name}).json()["id"] for name in ("one", "two")]
    headers = {"Authorization": f"Bearer {client.key}"}
    with loopback.Client(base_url=f"{real.url}/workflows/{ids[0]}/comfy", headers=headers, timeout=LIMIT_S) as one:
        prompt_id = one.post("/prompt", json={"prompt": picture()}).json()["prompt_id"]
        run = client.finish(_run_id(client, prompt_id))

        assert run["workflow_id"] == ids[0]
        assert list(one.get("/history").json()) == [prompt_id]
    with loopback.Client(base_url=f"{real.url}/workflows/{ids[1]}/comfy", headers=headers) as two:
        assert two.get("/history").json() == {}
        assert two.get(f"/history/{prompt_id}").json() == {}
        assert two.get("/object_info/SaveImage").json()["SaveImage"]["output_node"] is True


def test_editor_settings_and_user_data(comfyui: httpx2.Client) -> None:
    assert comfyui.get("/settings").json()["Comfy.TutorialCompleted"] is True
    assert comfyui.post("/settings/Comfy.Theme", content=b'"dark"').status_code == 200
    assert comfyui.post("/api/settings", json={"a": [1], "b": None}).status_code == 200
    assert comfyui.get("/settings/Comfy.Theme").json() == "dark"
    assert comfyui.get("/settings").json() | {"a": [1]} == comfyui.get("/settings").json()

    path = "/api/userdata/workflows%2Fmine.json"
    assert comfyui.get("/userdata", params={"dir": "workflows"}).json() == []
    assert comfyui.get("/userdata", params={"dir": "nothing"}).status_code == 404
    saved = comfyui.post(path, content=b'{"nodes": []}', params={"full_info": "true", "overwrite": "false"}).json()
    assert (saved["path"], saved["size"]) == ("workflows/mine.json", 13)
    assert comfyui.post(path, content=b"{}", params={"overwrite": "false"}).status_code == 409
    assert comfyui.post(path, content=b'{"nodes": [1]}').json() == "workflows/mine.json"
    assert comfyui.get(path).json() == {"nodes": [1]}
    assert comfyui.get("/userdata", params={"dir": "workflows"}).json() == ["mine.json"]
    full = comfyui.get("/userdata", params={"dir": "workflows", "full_info": "true", "recurse": "true"}).json()
    assert [(each["path"], each["size"]) for each in full] == [("mine.json", 14)]
    kinds = {each["path"]: each["type"] for each in comfyui.get("/v2/userdata").json()}
    assert (kinds["workflows"], kinds["workflows/mine.json"]) == ("directory", "file")
    [listed] = comfyui.get("/v2/userdata", params={"path": "workflows"}).json()
    assert listed["modified"] * 1000 == pytest.approx(full[0]["modified"], abs=1)
    assert comfyui.post(f"{path}/move/workflows%2Fyours.json").json() == "workflows/yours.json"
    assert comfyui.get(path).status_code == 404
    assert comfyui.delete("/userdata/workflows%2Fyours.json").status_code == 204
    assert comfyui.delete("/userdata/workflows%2Fyours.json").status_code == 404


@pytest.mark.engine
def test_the_catalog_and_system_information(comfyui: httpx2.Client, engine_version: str) -> None:
    assert "SaveImage" in comfyui.get("/api/object_info").json()
    assert comfyui.get("/object_info/Nothing").json() == {}
    assert "checkpoints" in comfyui.get("/models").json()
    assert "house-tiny-sd15.safetensors" in comfyui.get("/models/checkpoints").json()
    assert comfyui.get("/models/nothing").status_code == 404
    assert {"name": "loras", "folders": ["loras"]} in comfyui.get("/experiment/models").json()
    stats = comfyui.get("/system_stats").json()
    assert stats["system"]["comfyui_version"] == engine_version
    assert stats["devices"][0]["type"] == "cpu"
    for path in ("/embeddings", "/extensions"):
        assert isinstance(comfyui.get(path).json(), list), path
    for path in ("/features", "/users", "/i18n", "/global_subgraphs", "/workflow_templates", "/node_replacements"):
        assert isinstance(comfyui.get(path).json(), dict), path
    assert comfyui.post("/free", json={"unload_models": True}).status_code == 200


@pytest.mark.engine
def test_a_class_that_comfyui_has_no_more_is_replaced(
    comfyui: httpx2.Client, client: Client, engine_version: str
) -> None:
    if engine_version != DEFAULT.version:
        pytest.skip("it replaces no classes")
    [replacement] = comfyui.get("/node_replacements").json()["TestCounts"]
    graph = {"1": node("TestCounts", count=1), "2": node("SaveImage", images=["1", 0], filename_prefix="x")}

    answer = comfyui.post("/prompt", json={"prompt": graph})

    assert replacement["new_node_id"] == "TestSteps"
    assert answer.status_code == 200, answer.text
    prompt_id = answer.json()["prompt_id"]
    assert client.finish(_run_id(client, prompt_id))["status"] == "COMPLETED"
    [entry] = comfyui.get(f"/history/{prompt_id}").json().values()
    assert entry["prompt"][2]["1"] == node("TestSteps", steps=1)


def _run_id(client: Client, prompt_id: str) -> str:
    newest = client.http.get("/api/v1/runs", params={"limit": 50}).json()
    return next(str(run["id"]) for run in newest if run["prompt_id"] == prompt_id)
