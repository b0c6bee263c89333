"""Clients of other people, in environments of their own that are kept between runs of the tests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uv

from comfyward.server_settings import default_data_dir
from tests.locks import locked

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
PINS = HERE.parents[2] / "requirements" / "clients.txt"
SDK_SOURCE = HERE / "comfy-sdk-source.txt"
LIMIT_S = 180

RunProgram = Callable[..., dict[str, Any]]


def kept_folder(name: str, fill: Callable[[Path], None], *pins: Path) -> Path:
    """A folder that is filled once for these pins, by one process at a time."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in pins)).hexdigest()[:8]
    folder = default_data_dir() / "test-clients" / f"{name}-{digest}"
    with locked(folder):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            fill(folder)
            (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session")
def python_clients() -> Path:
    """The python of an environment with comfy-sdk, comfy-script and comfy-toolkit."""

    def fill(folder: Path) -> None:
        subprocess.run([uv.find_uv_bin(), "venv", "--quiet", str(folder)], check=True)
        install = ("pip", "install", "--quiet", "--python", str(folder), "--require-hashes", "-r", str(PINS))
        subprocess.run([uv.find_uv_bin(), *install], check=True)

    return kept_folder("python", fill, PINS) / "bin" / "python"


@pytest.fixture(scope="session")
def node_clients() -> Path:
    """A folder with the node packages; skips where there is no Node."""
    if shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed: clients written in JavaScript are not tried")
    pins = (HERE / "package.json", HERE / "package-lock.json")

    def fill(folder: Path) -> None:
        folder.mkdir(parents=True)
        for path in pins:
            shutil.copy(path, folder)
        install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(install, cwd=folder, check=True)

    return kept_folder("node", fill, *pins)


@pytest.fixture(scope="session")
def sdk_source() -> Path:
    """comfy-sdk's source distribution, which holds its end-to-end test and the specification."""

    def fill(folder: Path) -> None:
        folder.mkdir(parents=True)
        download = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
        command = [sys.executable, *download, "--require-hashes", "-r", str(SDK_SOURCE), "-d", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        [archive] = folder.glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")

    folder = kept_folder("comfy-sdk", fill, SDK_SOURCE)
    [source] = [path for path in folder.iterdir() if path.is_dir()]
    return source


@pytest.fixture
def run_node(node_clients: Path) -> RunProgram:
    """Runs one of the programs with Node; returns the JSON that it prints last."""

    def run(name: str, *arguments: str, **environment: str) -> dict[str, Any]:
        shutil.copy(PROGRAMS / name, node_clients / name)
        return _last_json(["node", name, *arguments], node_clients, environment)

    return run


@pytest.fixture
def run_python(python_clients: Path, tmp_path: Path) -> RunProgram:
    """Runs one of the programs with Python; returns the JSON that it prints last."""

    def run(name: str, *arguments: str, **environment: str) -> dict[str, Any]:
        return _last_json([str(python_clients), str(PROGRAMS / name), *arguments], tmp_path, environment)

    return run


def _last_json(command: list[str], folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
