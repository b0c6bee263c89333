"""A custom node tries to read the server's data, the environment and another account's files, to write outside, and to
reach a server on loopback."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from comfyward.sandbox import removal, walls
from comfyward.sandbox.inside import landlock
from tests.conftest import ROOT
from tests.fakes.http import Origin
from tests.stack.graphs import node, picture
from tests.stack.stack import Stack

LEVELS = ["bubblewrap", "landlock"]


@pytest.fixture(scope="module", params=LEVELS)
def walled(request: pytest.FixtureRequest, engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory):
    level = request.param
    if level == "bubblewrap" and not walls.bubblewrap_works():
        pytest.skip("this host allows no bubblewrap (not installed, or no user namespaces)")
    if level == "landlock" and landlock.abi() < 4:
        pytest.skip("this kernel has no Landlock with network rules")
    os.environ["COMFYWARD_TEST_SECRET"] = "top-secret"
    settings = {
        **engine,
        "custom_nodes_dir": str(ROOT / "nodes"),
        "sandbox": level,
        "fetch_allow": "127.0.0.1",
    }
    stack = Stack(tmp_path_factory.mktemp(level), settings)
    try:
        yield level, stack.start().wait_ready()
    finally:
        stack.close()
        removal.remove_tree(stack.data_dir)  # pytest cannot


def test_a_hostile_node_stays_inside_its_walls(walled: tuple[str, Stack], site: Origin, tmp_path: Path) -> None:
    level, stack = walled
    client = stack.client("mallory")
    victim = stack.client("victim")
    uploaded = victim.http.post(
        "/api/v1/files", params={"path": "/input/private.txt"}, content=b"victim's bytes"
    ).json()
    blob = stack.data_dir / "objects" / "blobs" / uploaded["digest"][7:9] / uploaded["digest"][7:]
    assert blob.read_bytes() == b"victim's bytes"
    outside = tmp_path / "outside.txt"
    python = Path(os.path.realpath("/proc/self/exe"))

    def attempt(what: str, target: str | Path = "", **files: str) -> str:
        brought = {"files": {"/input/mine.txt": "data:text/plain,mine"}} if what == "overwrite_input" else {}
        run = client.run({"1": node("TestHarm", what=what, target=str(target))}, **brought)
        assert run["status"] == "COMPLETED", run["error"]
        return " ".join(str(output.get("text")) for output in run["output"])

    for secret in (stack.data_dir / "comfyward.db", blob, Path("/root/.bashrc"), Path("/etc/shadow")):
        assert "refused" in attempt("read", secret), secret
    assert "comfyward.db" not in attempt("list", stack.data_dir)
    assert "refused" in attempt("list", stack.data_dir / "objects")
    assert "refused" in attempt("list", stack.data_dir / "cache" / "blobs")

    environment = attempt("environment")
    assert "COMFYWARD_MODEL_DIRS" in environment
    assert "top-secret" not in environment
    assert "TOKEN" not in environment
    assert "top-secret" not in attempt("processes")

    assert "refused" in attempt("write", outside)
    assert not outside.exists()
    assert "refused" in attempt("write", python.parent / "harm.txt")
    assert "refused" in attempt("write", ROOT / "nodes" / "test_nodes" / "__init__.py")
    assert "refused" in attempt("overwrite_input", "mine.txt")

    assert "refused" in attempt("connect", site.url.removeprefix("http://"))
    assert "refused" in attempt("connect", f"127.0.0.1:{stack.port}")
    assert site.requests == []

    # A link among the outputs that points at our files is not followed by us either.
    assert "root" not in attempt("link_out", "/etc/passwd")
    run = client.run({"1": node("TestHarm", what="link_out", target=str(stack.data_dir / "comfyward.db"))})
    assert [output["filename"].rpartition("/")[2] for output in run["output"]] == ["text_1.txt"]
    assert f'sandbox="{level}"' in client.http.get("/metrics").text


DEPTHS = (500, 1000, 1500)  # of folders: ComfyUI's own nodes make some hundred of them at a time


def deep() -> dict[str, Any]:
    """A graph of ComfyUI's own nodes, which save pictures in deeper and deeper folders, one after the other."""
    graph, image = {"1": node("EmptyImage", width=8, height=8, batch_size=1, color=1)}, "1"
    for depth in DEPTHS:
        graph[f"save-{depth}"] = node("SaveImage", images=[image, 0], filename_prefix="a/" * depth + "deep")
        graph[f"after-{depth}"] = node("ImageInvert", image=[image, 0])
        image = f"after-{depth}"
    return graph


def test_folders_that_comfyuis_own_nodes_nest_without_end_stop_no_worker(walled: tuple[str, Stack]) -> None:
    stack = walled[1]
    mallory, victim, pid = stack.client("mallory"), stack.client("victim"), stack.worker_pid()

    run = mallory.run(deep())

    assert (run["status"], run["end_reason"], run["attempt"]) == ("ERROR", "over_limit", 1), run["error"]
    assert run["error"]["message"] == "The run left folders that are nested more than 64 deep."
    for client in (mallory, victim):
        assert client.run(picture())["status"] == "COMPLETED"
    assert stack.worker_pid() == pid


def test_a_worker_that_was_killed_beside_such_folders_starts_again(walled: tuple[str, Stack]) -> None:
    stack = walled[1]
    mallory, victim, pid = stack.client("mallory"), stack.client("victim"), stack.worker_pid()
    steps = node("TestSteps", steps=1200, after=[f"after-{DEPTHS[-1]}", 0])
    run_id = mallory.submit({**deep(), "8": steps, "9": node("PreviewImage", images=["8", 0])})
    mallory.wait_for(run_id, "progress", node="8")
    home = stack.data_dir / "workers" / stack.worker_id
    assert list(home.glob(f"*/output/{'a/' * 64}"))

    os.kill(pid, signal.SIGKILL)
    mallory.cancel(run_id)

    assert mallory.finish(run_id)["end_reason"] == "cancelled"
    assert victim.run(picture())["status"] == "COMPLETED"
    assert stack.worker_pid() != pid
    assert not list(home.glob(f"*/output/{'a/' * 64}"))
    while any((home / "leftovers").iterdir()):  # each of them is removed in the end
        time.sleep(0.1)
