"""Starts ComfyUI processes one after another, as a worker of any user, whose code is an attack."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.sandbox import removal, walls
from comfyward.sandbox.inside import landlock
from tests.conftest import ROOT

NOBODY = 64001  # a user without a name, and without a home
SYSTEM_PYTHON = Path("/usr/bin/python3")  # any user can run it
PACKAGES = [path for path in sys.path if path.endswith("site-packages")]
COMFYUI = ROOT / "attacks" / "comfyui"

WORKER = """
import asyncio, json, sys
from pathlib import Path
from comfyward.comfy.egress import Egress
from comfyward.comfy.install import Installation
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.errors import SetupFailed
from comfyward.sandbox import walls
from comfyward.sandbox.cgroups import Cgroups, delegated
from comfyward.worker.doorkeeper import EgressDoorkeeper

home, source, level, network = Path(sys.argv[1]), Path(sys.argv[2]), walls.Level(sys.argv[3]), sys.argv[4] == "True"
attacks, limits = json.loads(sys.argv[5]), walls.Limits(**json.loads(sys.argv[6]))
python = Path(sys.executable)
egress = Egress(*map(tuple, json.loads(sys.argv[8])))
folders = (source, python.parent.parent, python.resolve().parent.parent)

def line_of(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""

async def main():
    parents = ComfyParents(home, Cgroups(delegated(), limits) if sys.argv[7] == "True" else None)
    found = []
    for number, attack in enumerate(attacks):
        base = home / f"comfyui-{number}"
        (base / "user").mkdir(parents=True)
        (base / "user" / "attack.py").write_text(attack)
        found_here = Installation(source, python, "0", folders)
        spec = ComfySpec(found_here, base, level, network, (), (), (), (), (), limits, egress)
        doorkeeper = EgressDoorkeeper(egress)
        process = ComfyProcess(spec, parents, doorkeeper)
        try:
            await process.start()
            found.append(json.loads((base / "output" / "found.json").read_text()))
        except SetupFailed:
            if process.over_limit is None:
                raise
            found.append({"over_limit": process.over_limit})
        await process.stop()
        if egress.hosts:
            found[-1]["log"] = process.log_since(0)
            found[-1]["reached"] = {f"{host}:{port}": vars(used) for (host, port), used in doorkeeper.taken().items()}
        lines = [line_of(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
        found[-1]["outlived"] = sum(b"cw-daemon\\0" in line for line in lines)
    await parents.close()
    print(json.dumps(found))

asyncio.run(main())
"""


class Attacked:
    """A worker of one level of the sandbox and one user, which runs attacks."""

    def __init__(self, level: walls.Level, user: str, folder: Path, *, cgroups: bool = False) -> None:
        self.level, self.user, self.folder, self._cgroups = level, user, folder, cgroups

    def run(
        self,
        *attacks: str,
        network: bool = False,
        egress: tuple[list[str], ...] = (),
        imported: Path | None = None,
        **limits: int,
    ) -> list[dict[str, object]]:
        """The things that each attack found: a value, or "refused: …". `egress`: hosts, private ones that may be.

        `imported` is a folder from which the worker's Pythons import first.
        """
        as_root = self.user == "root"
        is_hidden = as_root and self.level is walls.Level.BUBBLEWRAP  # below root's home, as an installation may be
        python = sys.executable if is_hidden else str(SYSTEM_PYTHON)
        home = Path(tempfile.mkdtemp(dir=self.folder))
        home.chmod(0o777)
        paths = [*([] if imported is None else [str(imported)]), str(ROOT.parent / "src"), *PACKAGES]
        done = subprocess.run(
            [
                python,
                "-c",
                WORKER,
                str(home),
                str(COMFYUI),
                self.level,
                str(network),
                json.dumps(attacks),
                json.dumps(limits),
                str(self._cgroups),
                json.dumps(egress),
            ],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(paths)},
            capture_output=True,
            text=True,
            cwd="/",
            timeout=480,
            **({} if as_root else {"user": NOBODY, "group": NOBODY, "extra_groups": []}),
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: list[dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
        assert [each.get("failed") for each in found] == [None] * len(attacks)
        return found


def attacked(level: str, user: str) -> Iterator[Attacked]:
    """Skips what this host cannot have."""
    if level == "bubblewrap" and not walls.bubblewrap_works():
        pytest.skip("this host allows no bubblewrap (not installed, or no user namespaces)")
    if level == "landlock" and landlock.abi() < 6:
        pytest.skip("this kernel's Landlock is older than version 6")
    if not SYSTEM_PYTHON.exists():
        pytest.skip("there is no Python that every user can run")
    folder = Path(tempfile.mkdtemp(prefix="cw-attacks-"))
    folder.chmod(0o777)
    try:
        yield Attacked(walls.Level(level), user, folder)
    finally:
        removal.remove_tree(folder)


LEVELS = [(level, user) for level in ("bubblewrap", "landlock") for user in ("root", "nobody")]
