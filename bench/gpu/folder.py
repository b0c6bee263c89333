"""Prepares the folder for a machine with a GPU and no network: at most 60 MB.

It has the wheels of comfyward and of what it needs, ComfyUI's source, those of ComfyUI's packages that a Python with
torch may lack, the checks themselves, and bubblewrap. Of ComfyUI's packages, those that are large and of which no check
needs a thing are left out: kornia, OpenGL and ANGLE (some nodes for pictures are then not loaded), the
compiled kernels of comfy-kitchen, and PyAV, for which an empty module stands in where it is missing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from comfyward.comfy.releases import DEFAULT
from comfyward.comfy.source import put_source

ROOT = Path(__file__).parent.parent.parent
MOST_BYTES = 60_000_000
PYTHONS = ("3.11", "3.12", "3.13")
TAGS = ("2_34", "2_31", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")  # of glibc; pip takes each only by its name
OLD_TAGS = ("2014", "2010", "1")
OWN_WITHOUT = ("av",)  # videos are not decoded
ASSUMED = (
    *("torch", "torchvision", "torchaudio", "triton", "numpy", "scipy", "transformers", "tokenizers", "safetensors"),
    *("huggingface-hub", "hf-xet", "sentencepiece", "regex", "sympy", "networkx", "mpmath", "fsspec", "setuptools"),
)
COMFYUI_WITHOUT = (*ASSUMED, "av", "kornia", "kornia-rs", "pyopengl", "comfy-angle", "colorama")
SOURCE_WITHOUT = re.compile(r"(^|/)(__pycache__|tests(-unit)?|blueprints|comfy_api_nodes)/|\.pyc$")
PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?: ; (?P<marker>[^\\\n]+))? \\\n"
    r"(?P<hashes>(?:\s+--hash=\S+(?: \\)?\n)+)",
    re.MULTILINE,
)
CODE = ("bench/__init__.py", "bench/gpu")
STANDS_IN = '''"""Stands in for PyAV, which is large. ComfyUI and torchvision import it before anybody needs a video."""

import importlib.abc
import importlib.machinery
import sys


class _Anything(type):
    """A class that has every attribute, can be called and inherited from, and does nothing."""

    def __getattr__(cls, name):
        return __getattr__(name)


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _Anything(name, (), {"__init__": lambda *_, **__: None})


__version__ = "16.1.0"
__path__ = []


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.startswith("av.") else None

    def exec_module(self, module):
        module.__getattr__ = __getattr__


sys.meta_path.append(_Finder())
'''


class TooLarge(Exception):
    """The folder is larger than it may be."""


def prepare(folder: Path, python_version: str) -> None:
    """Makes the folder, and says how large each of its parts is. Raises TooLarge."""
    if python_version not in PYTHONS:
        raise SystemExit(f"comfyward needs Python {', '.join(PYTHONS[:-1])} or {PYTHONS[-1]}.")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("wheels", "comfyui-wheels", "bin", "code", "stands-in/site-packages/av"):
        (folder / name).mkdir(parents=True)
    own = _pins((ROOT / "requirements" / "base.txt").read_text(), OWN_WITHOUT, python_version)
    theirs = _pins(DEFAULT.packages.read_text(), COMFYUI_WITHOUT, python_version)
    _download(own, folder / "wheels", python_version)
    lacking = {name: pin for name, pin in theirs.items() if own.get(name, "").split()[:1] != pin.split()[:1]}
    _download(lacking, folder / "comfyui-wheels", python_version)
    _own_wheel(folder / "wheels")
    for wheel in folder.glob("*wheels/*.whl"):
        _slim(wheel)
    _source(folder / "comfyui.tar.xz")
    (folder / "stands-in/site-packages/av/__init__.py").write_text(STANDS_IN)
    _code(folder)
    _bubblewrap(folder / "bin")
    said = {"python": python_version, "comfyui": sorted(theirs), "release": DEFAULT.version}
    (folder / "folder.json").write_text(json.dumps(said))
    _measure(folder)


def _pins(requirements: str, without: tuple[str, ...], python_version: str) -> dict[str, str]:
    """name: the pin with its hashes of each package, without some and without those of other platforms."""
    found = {}
    for pinned in PIN.finditer(requirements):
        name = re.sub(r"[-_.]+", "-", pinned["name"]).lower()
        if name not in without and not name.startswith("nvidia-") and _applies(pinned["marker"], python_version):
            found[name] = f"{pinned['name']}=={pinned['version']} {' '.join(pinned['hashes'].split(chr(92)))}"
    return found


def _applies(marker: str | None, python_version: str) -> bool:
    from packaging.markers import Marker

    version = {"python_version": python_version, "python_full_version": f"{python_version}.0"}
    machine = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_python_implementation": "CPython"}
    return marker is None or Marker(marker.strip()).evaluate({**version, **machine})


def _download(pins: dict[str, str], folder: Path, python_version: str) -> None:
    platforms = [f"manylinux_{tag}_x86_64" for tag in TAGS] + [f"manylinux{tag}_x86_64" for tag in OLD_TAGS]
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python_version, "--implementation", "cp", "--dest", str(folder)]
    command += [word for platform in platforms for word in ("--platform", platform)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(" ".join(pin.split()) for pin in pins.values()))
        file.flush()
        subprocess.run([*command, "--require-hashes", "-r", file.name], check=True)


def _own_wheel(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)


def _slim(wheel: Path) -> None:
    """Leaves out of a wheel what no check needs: uv's program, and comfy-kitchen's kernels."""
    if wheel.name.split("-")[0] not in ("uv", "comfy_kitchen"):
        return
    slim = wheel.with_suffix(".slim")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED) as kept:
        for name in whole.namelist():
            if ".data/" not in name and not name.endswith(".so"):
                kept.writestr(name, whole.read(name))
    slim.replace(wheel)


def _source(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(archive, "w:xz") as packed:
        put_source(DEFAULT, Path(scratch) / "ComfyUI")
        packed.add(
            Path(scratch) / "ComfyUI",
            "ComfyUI",
            filter=lambda entry: (
                None if SOURCE_WITHOUT.search(f"{entry.name}/" if entry.isdir() else entry.name) else entry
            ),
        )


def _code(folder: Path) -> None:
    for name in CODE:
        source, target = ROOT / name, folder / "code" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    script = folder / "gpu-check"
    script.write_text(
        "#!/bin/sh\n# Shows on this machine what only a GPU can show: ./gpu-check [--out DIR] [--python PYTHON]\n"
        'here=$(cd "$(dirname "$0")" && pwd)\n'
        'PYTHONPATH="$here/code" exec "${PYTHON:-python3}" -m bench.gpu.command "$here" "$@"\n'
    )
    script.chmod(0o755)


def _bubblewrap(folder: Path) -> None:
    """This machine's bubblewrap, for one that has none, with a library that not every system has."""
    binary = shutil.which("bwrap")
    if binary is None:
        print("bubblewrap is not installed here: the folder brings none.")
        return
    shutil.copy(binary, folder / "bwrap")


def _measure(folder: Path) -> None:
    total = 0
    for part in sorted(folder.iterdir()):
        files = [part] if part.is_file() else [file for file in part.rglob("*") if file.is_file()]
        size = sum(os.path.getsize(file) for file in files)
        total += size
        print(f"{size / 1e6:7.1f} MB  {part.name}")
    print(f"{total / 1e6:7.1f} MB  in all, of at most {MOST_BYTES / 1e6:.0f}")
    if total > MOST_BYTES:
        raise TooLarge(f"{total:,} bytes")
