"""An existing ComfyUI and a snapshot become environments by one command, and go out again, with a report each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fakes.git import commit, git

COMMIT = "1" * 40
RGTHREE = "https://github.com/rgthree/rgthree-comfy"
SNAPSHOT = {
    "comfyui": COMMIT,
    "git_custom_nodes": {RGTHREE: {"hash": COMMIT, "disabled": False}},
    "cnr_custom_nodes": {"comfyui-kjnodes": "1.10"},
    "file_custom_nodes": [{"filename": "one.py", "disabled": False}],
    "pips": {"numpy==2.3.5": ""},
}


def run(folder: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    own = {"COMFYWARD_DATA_DIR": str(folder / "data"), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "comfyward", "environments", *arguments]
    done = subprocess.run(command, env={**os.environ, **own}, input=stdin, cwd=folder, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if not line.startswith("Warning: no server uses")]
    return subprocess.CompletedProcess(command, done.returncode, done.stdout, "\n".join(said))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exchange")
    (folder / "snapshot.json").write_text(json.dumps(SNAPSHOT))
    migrated = [sys.executable, "-m", "comfyward", "db", "upgrade"]
    subprocess.run(migrated, env={**os.environ, "COMFYWARD_DATA_DIR": str(folder / "data")}, check=True)
    return folder


def test_a_snapshot_comes_in_and_goes_out(folder: Path) -> None:
    came = run(folder, "import", "portraits", "snapshot.json")

    assert came.returncode == 0, came.stderr
    assert came.stdout.splitlines() == [
        f"portraits has ComfyUI git+https://github.com/Comfy-Org/ComfyUI@{COMMIT} and 2 packs now.",
        "Not taken over:",
        "  one.py: the snapshot names this file without its content",
    ]
    went = run(folder, "export", "portraits", "--as", "manager")
    kept = {key: SNAPSHOT[key] for key in ("comfyui", "git_custom_nodes", "cnr_custom_nodes", "pips")}
    assert (json.loads(went.stdout), went.stderr) == ({**kept, "file_custom_nodes": []}, "")

    assert run(folder, "export", "portraits", "--as", "cpack", "--to", "a.cpack.zip").stderr == ""
    assert sorted(zipfile.ZipFile(folder / "a.cpack.zip").namelist()) == ["requirements.txt", "snapshot.json"]
    assert run(folder, "import", "again", "a.cpack.zip").returncode == 0
    assert run(folder, "export", "again").stdout == run(folder, "export", "portraits").stdout


def test_what_a_form_cannot_hold_is_said_on_the_way_out(folder: Path) -> None:
    spec = 'comfyui = "0.30.0"\n[[pack]]\nsource = "pypi:comfyui-tooling-nodes==0.1.0"\n'
    assert run(folder, "import", "tools", "-", stdin=spec).returncode == 0

    went = run(folder, "export", "tools", "--as", "manager")

    assert json.loads(went.stdout)["comfyui"] == "b1693ecba9f5b65f8c80ab36b195ab963ec92413"
    assert went.stderr.splitlines() == [
        "Not taken over:",
        "  pypi:comfyui-tooling-nodes==0.1.0: a snapshot knows no packs of the package index",
    ]


def test_an_existing_comfyui_comes_in(folder: Path) -> None:
    comfyui = folder / "ComfyUI"
    nodes = comfyui / "custom_nodes"
    (nodes / "mine").mkdir(parents=True)
    (comfyui / "main.py").write_text("")
    (comfyui / "comfyui_version.py").write_text('__version__ = "0.3.75"\n')
    (nodes / "mine" / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    cloned = commit(nodes / "cloned", {"__init__.py": ""})
    git(nodes / "cloned", "remote", "add", "origin", "https://git.example.com/team/cloned")

    came = run(folder, "import", "mine", str(comfyui))

    assert came.stdout.splitlines()[:2] == ["mine has ComfyUI 0.3.75 and 2 packs now.", "Not taken over:"]
    spec = run(folder, "export", "mine").stdout
    assert f'source = "git+https://git.example.com/team/cloned@{cloned}"' in spec
    assert 'source = "folder:mine@' in spec


def test_a_file_that_is_none_of_them_changes_nothing(folder: Path) -> None:
    (folder / "other.json").write_text('{"nodes": []}')

    refused = run(folder, "import", "portraits", "other.json")

    assert refused.returncode == 1
    assert "has no form that is known" in refused.stderr
    assert "snapshot of ComfyUI-Manager" in refused.stderr
    assert run(folder, "import", "nowhere", "missing.json").returncode == 2
    assert "nowhere" not in run(folder, "list").stdout
