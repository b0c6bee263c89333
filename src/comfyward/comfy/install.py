"""Installs a release of ComfyUI, with its pinned source and packages, in an environment separate from ours.

An installation is the folder `<environments>/comfyui-<version>-<digest of the pins>/`. It is complete if it holds
`installed.json`; an incomplete one is installed from scratch.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyward.comfy import uv_command
from comfyward.comfy.bytecode import compile_folders
from comfyward.comfy.compression import FORMS, compress
from comfyward.comfy.releases import DEFAULT, FOLDER, RELEASES, Release, release_of
from comfyward.comfy.source import put_source
from comfyward.comfy.uv_command import Progress, UvFailed
from comfyward.errors import SetupFailed

# ComfyUI's editor: the newest, which works below any path. Each release names its own beside it.
EDITOR_PINS = FOLDER / "editor.txt"
TEMPLATE_PINS = FOLDER / "templates.txt"
PACKAGES_FOLDERS = ("site-packages", "dist-packages")
COMPRESSED = "packed"  # a file in a package's folder, naming the forms that its files are compressed to


@dataclass(frozen=True)
class Installation:
    """A ComfyUI that can be started."""

    source: Path
    python: Path
    version: str
    folders: tuple[Path, ...]  # folders that a sandbox must show: source, environment, base python

    @property
    def models_dirs(self) -> tuple[Path, ...]:
        """The model folders of an operator's own installation."""
        return tuple(path for path in (self.source / "models",) if path.is_dir())


def chosen(environments: Path, version: str | None) -> Release:
    """The release to use: the version that the operator names, else the one installed first, else the default.

    So a release that is in use stays, whatever is installed beside it. Raises SetupFailed.
    """
    if version is not None:
        return release_of(version)
    installed_at = {
        release: record.get("installed_at", 0)  # 0 before that was recorded, when the default was 0.3.75
        for release in RELEASES.values()
        if (record := _record(_root(environments, release))) is not None
    }
    return min(installed_at, key=lambda release: installed_at[release], default=DEFAULT)


def installed(environments: Path, release: Release) -> Installation | None:
    """The installation of a release, None if it is missing or incomplete."""
    root = _root(environments, release)
    if not _is_compiled(root):
        return None
    return _describe(root / "ComfyUI", root / "venv" / "bin" / "python")


def install(environments: Path, release: Release, progress: Progress) -> Installation:
    """The installation of a release, made if it is missing. Raises SetupFailed with the end of the output."""
    root = _root(environments, release)
    environments.mkdir(parents=True, exist_ok=True)
    with _lock(environments / f"{root.name}.lock"):
        found = installed(environments, release)
        if found is not None:
            return found
        if not (root / "installed.json").exists():
            _install_anew(root, release, progress)
        compile_bytecode(root, progress)
        about = {"comfyui": release.version, "pins": _digest_of_pins(release), "bytecode": True}
        since = _record(root) or {"installed_at": int(time.time() * 1000)}
        (root / "installed.json").write_text(json.dumps({**since, **about}))
    done = installed(environments, release)
    assert done is not None
    return done


def _install_anew(root: Path, release: Release, progress: Progress) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    progress(f"Fetching the source of ComfyUI {release.version}", None)
    put_source(release, root / "ComfyUI")
    progress("Creating a Python environment", None)
    _run_uv("venv", "--python", sys.executable, str(root / "venv"))
    progress("Fetching ComfyUI's packages", 0.0)
    _install_packages(root, release, progress)


def compile_bytecode(root: Path, progress: Progress) -> None:
    """Writes bytecode beside every module: the sandbox is read-only, so each start would compile all of them again."""
    progress("Compiling ComfyUI", None)
    compile_folders(root / "venv" / "bin" / "python", root / "venv" / "lib", root / "ComfyUI")


def _is_compiled(root: Path) -> bool:
    return bool((_record(root) or {}).get("bytecode"))


def _record(root: Path) -> dict[str, Any] | None:
    """The record of an installation; None if it is incomplete."""
    try:
        found: dict[str, Any] = json.loads((root / "installed.json").read_text())
    except FileNotFoundError:
        return None
    return found


def frontend(environments: Path, pins: Path, progress: Progress) -> Path:
    """The folder of the pinned package (editor or templates), fetched if it is missing, with compressed files.

    Raises SetupFailed.
    """
    environments.mkdir(parents=True, exist_ok=True)
    root = environments.resolve() / f"{pins.stem}-{hashlib.sha256(pins.read_bytes()).hexdigest()[:8]}"
    with _lock(environments / f"{root.name}.lock"):
        if not root.exists():
            fresh = root.with_name(f"{root.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            progress(f"Fetching ComfyUI's {pins.stem}", None)
            _run_uv("pip", "install", "--no-deps", "--require-hashes", "--target", str(fresh), "-r", str(pins))
            fresh.rename(root)
        compressed, forms = root / COMPRESSED, " ".join(FORMS)
        if not compressed.exists() or compressed.read_text() != forms:
            progress(f"Compressing ComfyUI's {pins.stem}", None)
            compress(root)
            compressed.write_text(forms)
    return root


def existing(source: Path, python: Path | None) -> Installation:
    """An operator's own ComfyUI. Raises SetupFailed if the folder is not one, or has no Python."""
    source = source.resolve()
    if not (source / "main.py").is_file():
        inner = source / "ComfyUI"
        hint = f"Did you mean {inner}?" if (inner / "main.py").is_file() else "Use the folder that contains main.py."
        raise SetupFailed(f"There is no ComfyUI in {source}.", hint=hint)
    if python is not None and not python.exists():
        raise SetupFailed(f"There is no Python at {python}.", hint="Set COMFYWARD_COMFYUI_PYTHON to that of ComfyUI.")
    found = python or next((path for path in _pythons_of(source) if path.exists()), None)
    if found is None:
        raise SetupFailed(f"No Python was found for the ComfyUI in {source}.", hint="Set COMFYWARD_COMFYUI_PYTHON.")
    return _describe(source, found)


def _pythons_of(source: Path) -> list[Path]:
    folders = [source / "venv", source / ".venv", source.parent / "venv", source.parent / ".venv"]
    return [folder / "bin" / "python" for folder in folders]


def _describe(source: Path, python: Path) -> Installation:
    """The installation. `python` is not resolved: following its link would leave its environment."""
    environment = python.parent.parent
    base = python.resolve().parent.parent
    folders = (source, environment, base, *_linked_folders(environment))
    return Installation(source, python, _version_of(source), folders)


def _linked_folders(environment: Path) -> list[Path]:
    """The packages of other environments that an environment's `.pth` files name, and Python so adds to its path.

    No other folders: a package that somebody offers could name any, such as one with keys.
    """
    found: set[Path] = set()
    for file in environment.glob("lib*/python3*/site-packages/*.pth"):
        named = (file.parent / line.strip() for line in file.read_text(errors="replace").splitlines())
        found |= {folder.resolve() for folder in named if folder.name in PACKAGES_FOLDERS and folder.is_dir()}
    return sorted(folder for folder in found if not folder.is_relative_to(environment.resolve()))


def _version_of(source: Path) -> str:
    try:
        match = re.search(r"__version__ = \"([^\"]+)\"", (source / "comfyui_version.py").read_text())
    except OSError:
        return "unknown"
    return match[1] if match else "unknown"


def _root(environments: Path, release: Release) -> Path:
    return environments.resolve() / f"comfyui-{release.version}-{_digest_of_pins(release)}"


def _digest_of_pins(release: Release) -> str:
    return hashlib.sha256(release.packages.read_bytes() + release.source.read_bytes()).hexdigest()[:8]


def _install_packages(root: Path, release: Release, progress: Progress) -> None:
    python = str(root / "venv" / "bin" / "python")
    with _explaining("pip"):
        said = uv_command.lines("pip", "install", "--python", python, "--require-hashes", "-r", str(release.packages))
        uv_command.follow(said, "ComfyUI's packages", progress)


def _run_uv(*arguments: str) -> None:
    with _explaining(arguments[0]):
        uv_command.run(*arguments)


@contextmanager
def _explaining(command: str) -> Iterator[None]:
    """Raises SetupFailed, with what uv said last, if it fails."""
    try:
        yield
    except UvFailed as error:
        raise SetupFailed(
            f"Installing ComfyUI failed (uv {command}):\n{error}",
            hint="Check the network and the free disk space (8 GB are needed), then try again.",
        ) from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
