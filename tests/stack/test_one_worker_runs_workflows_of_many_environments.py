"""Packs of the registry and of our own, in environments that one worker finds built, tries, and runs in turn."""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.command_line import comfyward
from tests.conftest import installation
from tests.stack.editor_files import node as editor_node
from tests.stack.graphs import node, picture
from tests.stack.stack import Client, Stack
from tests.stack.test_a_worker_builds_and_tries_environments import DOES_NOT_IMPORT, INNER, WRITES, state_of
from tests.stack.waiting import until

TOOLING, IB = "pypi:comfyui-tooling-nodes==0.1.0", "pypi:comfyui-ib-customnodes==0.2.3"
LOOKS = """
import folder_paths, os
class Looks:
    FUNCTION, RETURN_TYPES, CATEGORY, OUTPUT_NODE = "look", (), "", True
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}
    def look(self):
        faces = os.path.isdir(os.path.join(folder_paths.models_dir, "faces"))
        with open(__file__) as own:
            return {"ui": {"text": [f"faces: {faces}, written: {'# written by itself' in own.read()}"]}}
NODE_CLASS_MAPPINGS["Looks"] = Looks
"""


@pytest.fixture(scope="module")
def environments_dir(engine: dict[str, str]) -> Iterator[Path]:
    """On the file system of what is installed already: packages are hard links, not 7 GB of copies."""
    with tempfile.TemporaryDirectory(prefix="environments-", dir=Path(engine["environments_dir"]).parent) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def stack(engine: dict[str, str], environments_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server whose worker has nothing but ComfyUI, beside which environments share its packages and bytecode."""
    found = installation(engine)
    (environments_dir / "default").symlink_to(found.source.parent)
    table = environments_dir / "table.toml"
    table.write_text(f'ImageToPIL = "{IB}"\nPILToImage = "{IB}"\n')
    own = {"environments_dir": str(environments_dir), "editor": "false", "fetch_allow": "127.0.0.1"}
    own["node_table"] = str(table)
    settings = {"comfyui": str(found.source), "comfyui_python": str(found.python), **own}
    stack = Stack(tmp_path_factory.mktemp("many"), settings)
    try:
        yield stack.start().wait_ready()
        assert stack.stop() == 0
    finally:
        stack.close()


def environments(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {f"COMFYWARD_{name.upper()}": value for name, value in stack.settings.items()}
    command = ("environments", *arguments, "--data-dir", str(stack.data_dir))
    return comfyward(*command, environment={**os.environ, **settings})


def made(stack: Stack, name: str, *packs: str) -> subprocess.CompletedProcess[str]:
    """The result of the trial of a new environment, which is built by hand: a worker would do so at low priority."""
    for arguments in (("create", name), ("add", name, *packs), ("build", name)):
        done = environments(stack, *arguments)
        assert done.returncode == 0, done.stderr
    return environments(stack, "try", name)


def pack(folder: Path, **files: str) -> str:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return str(folder)


def workflow(client: Client, environment: str) -> str:
    answer = client.http.post("/api/v1/workflows", json={"name": environment or "own", "environment": environment})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def run(client: Client, of: str, graph: dict[str, Any]) -> dict[str, Any]:
    answer = client.post_run({"prompt": graph}, of)
    assert answer.status_code == 200, answer.text
    done = client.finish(answer.json()["id"])
    assert done["status"] == "COMPLETED", done["error"]
    return done


def cropped() -> dict[str, Any]:
    graph = picture(size=64)
    graph["3"] = node("ETN_CropImage", image=["1", 0], x=8, y=8, width=16, height=24)
    graph["2"]["inputs"]["images"] = ["3", 0]
    return graph


def converted() -> dict[str, Any]:
    graph = picture(size=32)
    graph["3"], graph["4"] = node("ImageToPIL", images=["1", 0]), node("PILToImage", images=["3", 0])
    graph["2"]["inputs"]["images"] = ["4", 0]
    return graph


def test_each_run_gets_the_comfyui_of_its_environment(stack: Stack, tmp_path: Path) -> None:
    for name, packs in {
        "portraits": (TOOLING, pack(tmp_path / "writes", __init__=WRITES + LOOKS)),
        "sketches": (IB,),
    }.items():
        tried = made(stack, name, *packs)
        assert tried.returncode == 0, tried.stderr
        assert environments(stack, "promote", name).returncode == 0
    builds = [path for path in Path(stack.settings["environments_dir"]).iterdir() if len(path.name) == 64]
    before = [state_of(path) for path in builds]
    assert len(builds) == 2
    client = stack.client()
    portraits, sketches, own = (workflow(client, name) for name in ("portraits", "sketches", ""))

    for _ in range(2):
        done = run(client, portraits, cropped())
        assert (done["environment"], done["environment_revision"]) == ("portraits", 1)
        assert Image.open(io.BytesIO(client.http.get(done["output"][0]["url"]).content)).size == (16, 24)
        done = run(client, sketches, converted())
        assert Image.open(io.BytesIO(client.http.get(done["output"][0]["url"]).content)).size == (32, 32)
        run(client, own, picture())
    looked = run(client, portraits, {"1": node("Looks")})
    assert "faces: True, written: True" in client.http.get(looked["output"][0]["url"]).text

    for other, graph in ((own, cropped()), (sketches, cropped()), (portraits, converted())):
        assert client.post_run({"prompt": graph}, other).status_code == 400
    assert [state_of(path) for path in builds] == before


def converted_file() -> dict[str, Any]:
    """As the editor saves it; its file says nothing of packs."""
    kinds = ("EmptyImage", "ImageToPIL", "PILToImage", "SaveImage")
    values = ([32, 32, 1, 0xFF0000], [], [], ["picture"])
    return {
        "nodes": [editor_node(1 + index, kind, *values[index]) for index, kind in enumerate(kinds)],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "PIL_IMAGE"], [3, 3, 0, 4, 0, "IMAGE"]],
    }


def test_a_file_whose_pack_is_missing_is_checked_got_and_runs(stack: Stack) -> None:
    client, file = stack.client(), converted_file()

    def ask(what: str, **more: Any) -> dict[str, Any]:
        return dict(client.http.post(f"/api/v1/workflows/{what}", json={"workflow": file, **more}).json())

    found = ask("check", environment="default")
    assert [(each["class_type"], each["nodes"][0]["id"], each["packs"][0]["source"]) for each in found["classes"]] == [
        ("ImageToPIL", "2", IB),
        ("PILToImage", "3", IB),
    ]

    [job] = ask("get", environment="default", name="Pictures to PIL")["jobs"]

    lock = f"/api/v1/environments/{job['what']}/lock"
    until(lambda shown: shown["state"] == "done", lambda: dict(client.http.get(lock).json()))
    for act in ("build", "try"):
        assert environments(stack, act, job["what"]).returncode == 0
    shown = f"/api/v1/workflows/get/{job['id']}"
    ended = until(lambda shown: shown["state"] == "done", lambda: dict(client.http.get(shown).json()))
    assert (ended["state"], ended["environment"]) == ("done", job["what"]), ended
    assert ask("check", environment=job["what"])["runs"] is True
    done = run(client, workflow(client, job["what"]), file)
    assert (done["environment"], len(done["output"])) == (job["what"], 1)


def test_a_pack_that_does_not_import_is_named_and_nothing_is_promoted(stack: Stack, tmp_path: Path) -> None:
    tried = made(stack, "broken", pack(tmp_path / "broken", __init__=DOES_NOT_IMPORT, inner=INNER), IB)

    assert tried.returncode == 1
    sentence = "broken did not import: OSError: [Errno 30] Read-only file system (broken/inner.py, line 2)"
    assert sentence in tried.stdout + tried.stderr
    refused = environments(stack, "promote", "broken")
    assert refused.returncode == 1
    assert sentence in refused.stderr
