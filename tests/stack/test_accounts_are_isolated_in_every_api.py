"""Nothing of one account exists for another: ids are not found, names are free, events are not delivered."""

from __future__ import annotations

import json
import uuid

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.stack.graphs import load_and_save, picture
from tests.stack.stack import Client, Stack


@pytest.fixture(scope="module")
def alice(real: Stack) -> Client:
    return real.client("alice of the apis")


@pytest.fixture(scope="module")
def bob(real: Stack) -> Client:
    return real.client("bob of the apis")


@pytest.fixture(scope="module")
def job(alice: Client) -> dict[str, str]:
    """A run of Alice's, with its output's asset and its place in ComfyUI's names."""
    made = alice.http.post("/api/v2/jobs", json={"workflow": picture(prefix="private")}).json()
    [run] = [run for run in alice.http.get("/api/v1/runs").json() if run["prompt_id"] == made["id"]]
    alice.finish(run["id"])
    [output] = alice.http.get(f"/api/v2/jobs/{made['id']}").json()["outputs"]
    return {"id": made["id"], "run": run["id"], "asset": output["id"], "hash": output["hash"], "name": output["name"]}


def test_jobs_and_assets(bob: Client, job: dict[str, str]) -> None:
    for method, path in (
        ("GET", f"/jobs/{job['id']}"),
        ("GET", f"/jobs/{job['id']}/workflow"),
        ("GET", f"/jobs/{job['id']}/events"),
        ("POST", f"/jobs/{job['id']}/cancel"),
        ("GET", f"/assets/{job['asset']}"),
        ("GET", f"/assets/{job['asset']}/content"),
        ("DELETE", f"/assets/{job['asset']}"),
        ("HEAD", f"/assets/by-hash/{job['hash']}"),
    ):
        assert bob.http.request(method, f"/api/v2{path}").status_code == 404, path
    minted = bob.http.post("/api/v2/assets/from-hash", json={"hash": job["hash"], "file_path": "mine.png"})
    assert (minted.status_code, minted.json()["error"]["code"]) == (404, "blob_not_found")
    assert bob.http.get("/api/v2/jobs").json()["jobs"] == []
    reference = {"__type": "core/ASSET", "info": {"id": job["asset"]}}
    stolen = bob.http.post("/api/v2/jobs", json={"workflow": load_and_save(reference)})  # type: ignore[arg-type]
    assert stolen.json()["error"]["code"] == "missing_asset"


def test_comfyuis_own_names(alice: Client, bob: Client, job: dict[str, str]) -> None:
    view = {"filename": job["name"], "subfolder": job["run"]}

    assert alice.http.get("/comfy/view", params=view).status_code == 200
    assert bob.http.get("/comfy/view", params=view).status_code == 404
    assert bob.http.get("/comfy/view", params={"filename": job["name"]}).status_code == 404
    assert bob.http.get(f"/comfy/history/{job['id']}").json() == {}
    assert bob.http.get("/comfy/history").json() == {}
    assert bob.http.get(f"/comfy/jobs/{job['id']}").status_code == 404
    assert bob.http.post(f"/comfy/jobs/{job['id']}/cancel").json() == {"cancelled": False}
    bob.http.post("/comfy/history", json={"clear": True, "delete": [job["id"]]})
    assert job["id"] in alice.http.get("/comfy/history").json()
    annotated = bob.http.post("/comfy/prompt", json={"prompt": load_and_save(f"{job['run']}/{job['name']} [output]")})
    assert annotated.status_code == 400


def test_the_same_prompt_id_in_two_accounts(alice: Client, bob: Client) -> None:
    body = {"prompt": picture(), "prompt_id": str(uuid.uuid4())}

    assert alice.http.post("/comfy/prompt", json=body).status_code == 200
    assert bob.http.post("/comfy/prompt", json=body).status_code == 200
    assert bob.http.post("/comfy/prompt", json=body).status_code == 409  # within one account it names one run
    assert _ends(bob, body["prompt_id"]) == "COMPLETED"


def test_files_settings_and_userdata(alice: Client, bob: Client) -> None:
    alice.http.post("/comfy/settings", json={"private": 1})
    alice.http.post("/comfy/userdata/workflows%2Fprivate.json", content=b"{}")
    alice.http.post("/comfy/upload/image", files={"image": ("private.png", b"x", "image/png")})

    assert "private" not in bob.http.get("/comfy/settings").json()
    assert bob.http.get("/comfy/userdata", params={"dir": "workflows"}).json() == []
    assert bob.http.get("/comfy/userdata/workflows%2Fprivate.json").status_code == 404
    assert bob.http.get("/comfy/view", params={"filename": "private.png", "type": "input"}).status_code == 404
    assert "private.png" not in json.dumps(bob.http.get("/comfy/object_info/LoadImage").json())
    assert bob.http.get(f"/workflows/{_default(alice)}/comfy/history").status_code == 404


@pytest.mark.several_servers
def test_the_websocket_tells_nothing_of_others(real: Stack, alice: Client, bob: Client) -> None:
    with connect(f"{real.url.replace('http', 'ws')}/comfy/ws?clientId=shared&token={bob.key}") as socket:
        assert json.loads(socket.recv(timeout=60))["data"]["sid"] == "shared"
        body = {"prompt": picture(color=77), "client_id": "shared"}
        prompt_id = alice.http.post("/comfy/prompt", json=body).json()["prompt_id"]
        assert _ends(alice, prompt_id) == "COMPLETED"

        message = json.loads(socket.recv(timeout=60))  # the next thing that is said at all

    assert message == {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}


def test_a_socket_without_a_key_is_closed(real: Stack) -> None:
    url = f"{real.url.replace('http', 'ws')}/comfy/ws?clientId=x"
    with connect(url) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=60)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_a_socket_lives_no_longer_than_its_key(real: Stack) -> None:
    carol = real.client("carol of the apis")
    key_id = carol.http.get("/api/v1/me").json()["api_key_id"]
    with connect(f"{real.url.replace('http', 'ws')}/comfy/ws?clientId=x&token={carol.key}") as socket:
        socket.recv(timeout=60)
        real.cli("keys", "revoke", key_id, "--account", "carol of the apis")

        with pytest.raises(ConnectionClosed) as closed:
            _hear_all(socket)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def _hear_all(socket: ClientConnection) -> None:
    while True:
        socket.recv(timeout=60)


def _default(client: Client) -> str:
    return str(client.http.get("/api/v1/workflows/default").json()["id"])


def _ends(client: Client, prompt_id: str) -> str:
    run = next(run for run in client.http.get("/api/v1/runs").json() if run["prompt_id"] == prompt_id)
    return str(client.finish(run["id"])["status"])
