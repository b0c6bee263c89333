"""The newest ComfyUI that the registry carries, beside the one that users get: engine scenarios pass on both."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import uv

from comfyward.comfy import install
from comfyward.comfy.install import Installation

VERSION = "0.30.0"
HERE = Path(__file__).parent
SOURCE_PINS, PACKAGE_PINS = HERE / "source.txt", HERE / "packages.txt"
SOURCE_IN_ARCHIVE = "vendor/ComfyUI"
# The archive asks for this Python; ComfyUI itself runs on ours.
ARCHIVES_PYTHON = "3.12"


def newest(environments: Path) -> Installation:
    """Installed once beside the default environment, and kept between runs of the tests."""
    pins = hashlib.sha256(SOURCE_PINS.read_bytes() + PACKAGE_PINS.read_bytes()).hexdigest()[:8]
    root = environments.resolve() / f"newest-comfyui-{pins}"
    python = root / "venv" / "bin" / "python"
    with (environments / f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "installed").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            _unpack(_download(root), root)
            _uv("venv", "--python", sys.executable, str(root / "venv"))
            _uv("pip", "install", "--python", str(python), "--require-hashes", "-r", str(PACKAGE_PINS))
            install.compile_bytecode(root, lambda what, fraction: None)
            (root / "installed").touch()
    return install.existing(root / "ComfyUI", python)


def _download(root: Path) -> Path:
    """The source distribution. Its build backend, which is one of our own pinned tools, only names it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    command += ["--python-version", ARCHIVES_PYTHON, "--require-hashes", "-r", str(SOURCE_PINS), "-d", str(root)]
    _run(command)
    (archive,) = root.glob("*.tar.gz")
    return archive


def _unpack(archive: Path, root: Path) -> None:
    unpacked = root / "archive"
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
    (top,) = unpacked.iterdir()
    (top / SOURCE_IN_ARCHIVE).rename(root / "ComfyUI")
    shutil.rmtree(unpacked)
    archive.unlink()


def _uv(*arguments: str) -> None:
    _run([uv.find_uv_bin(), *arguments])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
