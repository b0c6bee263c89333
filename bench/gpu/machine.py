"""The machine with the GPU: unpacks a prepared folder there, and runs the checks in the time that there is.

Needs nothing but a Python of the version that the folder is for; its own, or one that has torch, is ComfyUI's.
Two environments are made, without network and without pip: one for comfyward, and one for ComfyUI that has what the
other Python has, and of the folder's wheels those that are missing there. Whatever the checks leave running is ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
END_S = 15.0  # kept for ending what is left, and for what a check does when its time is up
COMPILE_S = 60
VENV = ("-m", "venv", "--without-pip")
ABOUT_PYTHON = """
import importlib.metadata, json, sys
packages = sorted({each.metadata["Name"] for each in importlib.metadata.distributions() if each.metadata["Name"]})
paths = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
print(json.dumps({"version": sys.version_info[:2], "packages": packages, "paths": paths}))
"""


class Unfit(Exception):
    """This machine or folder cannot be used; the message says what to do."""


def unpack(folder: Path, out: Path, python: Path) -> list[str]:
    """Makes the environments and ComfyUI below `out`; the command line of the checks, without their options."""
    wanted = json.loads((folder / "folder.json").read_text())
    about = _about(python)
    present = {_normalized(name) for name in about["packages"]}
    if "torch" not in present:
        raise Unfit(f"{python} has no torch: name a Python that has it with --python.")
    if ".".join(map(str, about["version"])) != wanted["python"]:
        found = ".".join(map(str, about["version"]))
        raise Unfit(f"The folder is for Python {wanted['python']}, {python} is {found}: prepare it with "
                    f"--python-version {found}.")  # fmt: skip
    own, theirs = out / "comfyward", out / "comfyui-python"
    for environment in (own, theirs):
        subprocess.run([str(python), *VENV, str(environment)], check=True, timeout=60)
    _install(sorted((folder / "wheels").glob("*.whl")), _packages(own))
    missing = [wheel for wheel in _wheels_of(folder, wanted["comfyui"]) if _name_of(wheel) not in present]
    _install(missing, _packages(theirs))
    (_packages(theirs) / "gpucheck.pth").write_text("\n".join(about["paths"]) + "\n")
    if "av" not in present:
        (_packages(theirs) / "gpucheck-stands-in.pth").write_text(f"{folder / 'stands-in' / 'site-packages'}\n")
    if (folder / "bin" / "bwrap").exists():
        shutil.copy(folder / "bin" / "bwrap", theirs / "bin")  # a folder that the sandbox shows
    with tarfile.open(folder / "comfyui.tar.xz") as archive:
        archive.extractall(out, filter="data")
    compiled = [str(_packages(own)), str(_packages(theirs)), str(out / "ComfyUI")]  # what a sandbox shows is read-only
    subprocess.run([str(python), "-m", "compileall", "-q", "-j", "0", *compiled], timeout=COMPILE_S, check=False)
    return [
        *(str(own / "bin" / "python"), "-m", "bench.gpu.checks"),
        *("--comfyui", str(out / "ComfyUI"), "--python", str(theirs / "bin" / "python")),
    ]


def run(command: list[str], code: Path, out: Path, deadline: float) -> int:
    """The exit status of the checks, after which nothing of theirs runs any more."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what they orphan becomes a child of this process
    command = [*command, "--out", str(out), "--deadline", str(deadline - END_S)]
    own_programs = out / "work" / "comfyui-python" / "bin"  # bubblewrap, where the machine has none
    variables = {**os.environ, "PYTHONPATH": str(code), "PATH": f"{os.environ['PATH']}:{own_programs}"}
    checks = subprocess.Popen(command, env=variables, cwd=code)
    try:
        return checks.wait(max(1.0, deadline - time.time()))
    except subprocess.TimeoutExpired:
        print("The time is up: what still runs is ended.", flush=True)
        return 1
    finally:
        _end_all()


def _end_all() -> None:
    """Kills every process below this one, until there is none."""
    while children := _children(os.getpid()):
        for child in children:
            for process in (*_children(child), child):
                _kill(process)
        time.sleep(0.05)
        while _reaped():
            pass


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def _about(python: Path) -> dict[str, Any]:
    done = subprocess.run([str(python), "-c", ABOUT_PYTHON], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Unfit(f"{python} does not work: {done.stderr[-500:]}")
    return dict(json.loads(done.stdout))


def _packages(environment: Path) -> Path:
    return next(environment.glob("lib/python3*/site-packages"))


def _wheels_of(folder: Path, names: list[str]) -> list[Path]:
    wheels = [*(folder / "wheels").glob("*.whl"), *(folder / "comfyui-wheels").glob("*.whl")]
    return sorted(wheel for wheel in wheels if _name_of(wheel) in names)


def _install(wheels: list[Path], packages: Path) -> None:
    """A wheel is an archive of what is to be in site-packages; scripts and data of any are not needed here."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)


def _name_of(wheel: Path) -> str:
    return _normalized(wheel.name.split("-")[0])


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
