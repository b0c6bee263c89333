"""Packs that download weights, at import and when they run: refused, allowed for once to learn, then files of the
environment, which needs no network any more. Or their host is allowed for good."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import comfyward
from tests.conftest import ROOT
from tests.fakes.http import Origin, origin
from tests.stack.conftest import StartFake
from tests.stack.made_environments import Admin
from tests.stack.stack import Stack

LINES, FACES, MASK = b"lines" * 3000, b"faces" * 5000, b"mask" * 10
GRAPH = {"1": {"class_type": "FacesFromWeights", "inputs": {"report_to": ""}}}
HOST = "127.0.0.2"  # what is on 127.0.0.1 is not asked by way of a proxy


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fetch_allow="127.0.0.0/8")


@pytest.fixture
def weights() -> Iterator[Origin]:
    with origin(HOST) as served:
        for name, content in (("lines.pth", LINES), ("faces.onnx", FACES), ("mask.onnx", MASK)):
            served.put(f"/{name}", content)
        yield served


def archive(pack: str, address: str) -> tuple[str, bytes]:
    """A form's file: a pack of the test tree, with the address of its weights."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writing:
        writing.writestr(f"{pack}/__init__.py", (ROOT / "packs" / pack / "__init__.py").read_text())
        writing.writestr(f"{pack}/address.txt", address)
    return f"{pack}.zip", packed.getvalue()


def admin_of(stack: Stack, name: str, weights: Origin, *packs: str) -> Admin:
    admin = Admin(stack, name)
    for pack in packs:
        added = admin.http.post(f"/api/v1/environments/{name}/packs", files={"file": archive(pack, weights.url)})
        assert added.status_code == 200, added.text
    return admin


def tried(admin: Admin) -> dict[str, object]:
    """The state of the newest revision at the worker, once it has tried it."""
    admin.post("try", 202)
    number = admin.locked()["revision"]

    def has_ended(shown: dict) -> bool:
        newest = shown["revisions"][0]
        return newest["number"] == number and any(host["state"] in ("ready", "failed") for host in newest["hosts"])

    (host,) = admin.until(has_ended)["revisions"][0]["hosts"]
    return dict(host)


def run_in(stack: Stack, environment: str, graph: dict = GRAPH) -> dict:
    """The run of a graph in the newest revision of an environment, once it is over."""
    client = stack.client()
    answer = client.http.post("/api/v1/workflows", json={"name": "w", "environment": environment})
    assert answer.status_code == 201, answer.text
    submitted = client.post_run({"prompt": graph}, str(answer.json()["id"]))
    assert submitted.status_code == 200, submitted.text
    return client.finish(str(submitted.json()["id"]))


def test_what_packs_fetch_is_learned_and_then_there(stack: Stack, weights: Origin, tmp_path: Path) -> None:
    admin = admin_of(stack, "learned", weights, "downloads_at_import", "downloads_when_run")
    failed = tried(admin)
    assert failed["state"] == "failed"
    assert "downloads_at_import did not import: URLError" in str(failed["message"])
    assert weights.requests == []

    (tmp_path / "graph.json").write_text(json.dumps(GRAPH))
    done = comfyward(
        *("environments", "learn", "learned", "--url", stack.url, "--allow", weights.url.removeprefix("http://")),
        *("--graph", str(tmp_path / "graph.json"), "--json", "--yes"),
        environment={"COMFYWARD_API_KEY": stack.client().key},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    places = {
        "home/.masks/mask.onnx": ("mask.onnx", MASK),
        "models/faces/faces.onnx": ("faces.onnx", FACES),
        "packs/downloads_at_import/ckpts/annotators/lines.pth": ("lines.pth", LINES),
    }
    told = {file["path"]: file for file in found["files"]}
    assert told == {
        path: {
            "path": path,
            "url": f"{weights.url}/{name}",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        for path, (name, content) in places.items()
    }
    assert (found["state"], found["message"], found["refused"]) == ("done", "", [])

    asked = len(weights.requests)
    assert tried(admin)["state"] == "ready"
    changes = admin.get("/revisions/2/diff")["changes"]
    assert [(each["kind"], each["name"]) for each in changes] == [("file", path) for path in places]
    run = run_in(stack, "learned@2")
    assert run["status"] == "COMPLETED", run
    assert str(len(FACES)) in json.dumps(run["output"])
    assert len(weights.requests) == asked  # they were in the host's cache


def test_a_host_that_is_listed_is_reached_and_no_other(stack: Stack, weights: Origin) -> None:
    admin = admin_of(stack, "reaching", weights, "downloads_when_run")
    spec = admin.http.get("/api/v1/environments/reaching/export?form=spec").text
    host = weights.url.removeprefix("http://")
    changed = spec.replace("\n", f'\negress = ["{host}"]\n', 1)
    assert admin.http.patch("/api/v1/environments/reaching", json={"spec": changed}).status_code == 200
    assert tried(admin)["state"] == "ready"

    run = run_in(stack, "reaching@1")
    assert run["status"] == "COMPLETED", run
    assert {request.path for request in weights.requests} == {"/faces.onnx", "/mask.onnx"}

    with origin("127.0.0.3") as other:
        other.put("/", b"")
        port = other.url.rpartition(":")[2]
        graph = {"1": {"class_type": "FacesFromWeights", "inputs": {"report_to": f"{other.url}/"}}}
        failed = run_in(stack, "reaching@1", graph)
    sentence = f"The environment may not reach 127.0.0.3:{port}"
    assert failed["status"] == "ERROR"
    assert sentence in json.dumps(failed["error"])
    log = stack.client().http.get(f"/api/v1/runs/{failed['id']}").text
    assert sentence in log
    assert other.requests == []


def test_a_command_asks_beside_the_server(stack: Stack, weights: Origin) -> None:
    admin = admin_of(stack, "beside", weights, "downloads_at_import")
    own = {name: value for name, value in os.environ.items() if not name.startswith("COMFYWARD_")}
    at = ("--data-dir", str(stack.data_dir))

    done = comfyward("environments", "learn", "beside", *at, environment=own, text="y\n")

    assert done.returncode == 0, done.stderr
    host = weights.url.removeprefix("http://")
    assert f"Not reached: {host} (--allow {host})" in done.stdout
    assert "The packs have fetched nothing." in done.stdout
    assert weights.requests == []
    done = comfyward("environments", "learn", "beside", *at, "--allow", host, environment=own, text="y\n")
    assert done.returncode == 0, done.stderr
    path = "packs/downloads_at_import/ckpts/annotators/lines.pth"
    assert f"{path} (15.0 KB): {weights.url}/lines.pth" in done.stdout
    assert [file["path"] for file in admin.get()["files"]] == [path]
    assert admin.get()["is_changed"]


def test_a_workflow_of_the_editor_is_executed_once_its_nodes_are_known(
    stack: Stack, weights: Origin, tmp_path: Path
) -> None:
    admin = admin_of(stack, "drawn", weights, "downloads_when_run")
    admin.post("lock", 202)
    admin.locked()
    report_to = {"name": "report_to", "type": "STRING", "widget": {"name": "report_to"}, "link": None}
    drawn = {"id": 1, "type": "FacesFromWeights", "mode": 0, "inputs": [report_to], "widgets_values": [""]}
    workflow = {"nodes": [drawn], "links": []}
    refused = admin.http.post("/api/v1/environments/drawn/learn", json={"graph": workflow})
    assert (refused.status_code, "before a worker has tried it" in refused.text) == (409, True), refused.text
    admin.post("try", 200)
    admin.until(lambda shown: [host["state"] for host in shown["revisions"][0]["hosts"]] == ["ready"])

    (tmp_path / "workflow.json").write_text(json.dumps(workflow))
    own = {name: value for name, value in os.environ.items() if not name.startswith("COMFYWARD_")}
    done = comfyward(
        *("environments", "learn", "drawn", "--data-dir", str(stack.data_dir), "--json"),
        *("--allow", weights.url.removeprefix("http://"), "--graph", str(tmp_path / "workflow.json")),
        environment=own,
    )

    assert done.returncode == 0, done.stderr
    paths = [file["path"] for file in json.loads(done.stdout)["files"]]
    assert paths == ["models/faces/faces.onnx", "home/.masks/mask.onnx"]


def test_only_admins_learn_and_what_is_unknown_is_refused(stack: Stack, weights: Origin) -> None:
    admin = admin_of(stack, "guarded", weights)
    member = stack.client("member").http
    for method, path in (("POST", "learn"), ("GET", "learn"), ("DELETE", "learn"), ("POST", "learn/accept")):
        answer = member.request(method, f"/api/v1/environments/guarded/{path}", json={})
        assert answer.status_code == 403, (method, path, answer.text)
    for method, path, status in (("GET", "learn", 404), ("DELETE", "learn", 404), ("POST", "learn/accept", 404)):
        answer = admin.http.request(method, f"/api/v1/environments/guarded/{path}", json={})
        assert answer.status_code == status, (method, path, answer.text)
    admin.post("lock", 202)
    admin.locked()
    refused = admin.http.post("/api/v1/environments/guarded/learn", json={"hosts": ["http://x/"]})
    assert (refused.status_code, "is not a host" in refused.text) == (400, True), refused.text
