"""A fork begins with the libraries that packs use; one that a fork would not survive is left out, and named once."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import venv
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfyward.comfy import parent
from comfyward.comfy.install import Installation
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.sandbox import walls
from comfyward.sandbox.inside import landlock

# Says which modules it began with, and answers.
MAIN = """
import sys
began_with = sorted(sys.modules)
import gc, json, os, socket, time
base = sys.argv[sys.argv.index("--base-directory") + 1]
found = {"modules": began_with, "spied": getattr(sys.modules.get("spy"), "found", None)}
found["frozen"] = gc.get_freeze_count()
with open(os.path.join(base, "..", "output", "found.json"), "w") as file:
    json.dump(found, file)
server = socket.socket(fileno=int(os.environ["COMFYWARD_LISTENER"]))
server.listen()
time.sleep(600)
"""

TORCH = """
class cuda:
    initialized = False
    def is_initialized(): return cuda.initialized
    def is_available(): return False
"""

LIBRARIES = {
    "torch": TORCH,
    "good": "",
    "good/part": "",
    "good/unused": "",
    "late": "",
    "typed": "",
    "threads": "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "hangs": "while True: pass",
    "dies": "import os; os._exit(3)",
    "raises": "raise RuntimeError('no')",
    "uses_cuda": "import torch; torch.cuda.initialized = True",
    "asks": "import torch; DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'",
    "starts": "import subprocess; subprocess.Popen(['sleep', '600'])",
    "greedy": "everything = bytearray(512 << 20)",
    "shadowed": "",
    "last": "",
}
UNFIT = {"threads", "hangs", "dies", "raises", "uses_cuda", "asks", "starts", "greedy"}

PACK = """
import threads, hangs, dies
import uses_cuda, asks, greedy
try:
    import raises
except Exception:
    pass
from good import part
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import typed
from . import nodes, shadowed
raise SystemExit("a pack is never executed here")

def run():
    import late
"""


def _levels() -> list[walls.Level]:
    found = [walls.Level.NONE]
    if landlock.abi() >= 1:
        found.append(walls.Level.LANDLOCK)
    return [*found, walls.Level.BUBBLEWRAP] if walls.bubblewrap_works() else found


class Engine:
    """A ComfyUI with an environment and packs of its own."""

    def __init__(self, folder: Path, level: walls.Level) -> None:
        self.level, self.folder = level, folder
        self.packs = folder / "packs"
        source = folder / "comfyui"
        source.mkdir(parents=True)
        (source / "main.py").write_text(MAIN)
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site = folder / "venv" / "lib" / version / "site-packages"
        self.add_pack("one", PACK)
        self.add_library("torch", TORCH)
        (self.packs / "one" / "nodes.py").write_text("import starts, last\nimport shadowed\n")
        (self.packs / "one" / "shadowed.py").write_text("")
        base = Path(sys.base_prefix)
        self.installation = Installation(source, self.python, "0", (source, folder / "venv", base))
        self.parents = ComfyParents(self._made("home"))
        self._numbers = iter(range(100))

    def add_library(self, name: str, text: str = "") -> None:
        path = self.site / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "__init__.py").write_text(text)

    def add_pack(self, name: str, text: str) -> None:
        (self.packs / name).mkdir(parents=True)
        (self.packs / name / "__init__.py").write_text(text)

    async def start(self) -> ComfyProcess:
        base = self._made(f"home/comfyui-{next(self._numbers)}")
        spec = ComfySpec(self.installation, base, self.level, False, (), (), (self.packs,), ())
        process = ComfyProcess(spec, self.parents)
        await process.start()
        return process

    async def modules(self) -> set[str]:
        """The modules that a ComfyUI begins with."""
        return set((await self.found())["modules"])

    async def found(self) -> dict[str, Any]:
        process = await self.start()
        found: dict[str, Any] = json.loads((process.log_path.parent / "output" / "found.json").read_text())
        await process.stop()
        return found

    @property
    def environment(self) -> parent.Environment:
        spec = ComfySpec(self.installation, self.folder / "home", self.level, False, (), (), (self.packs,), ())
        return ComfyProcess(spec, self.parents).environment

    def _made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path


@pytest.fixture
def level() -> walls.Level:
    return walls.choose("auto")


@pytest.fixture
async def engine(level: walls.Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    monkeypatch.setattr(parent, "LIBRARIES", ("torch",))
    monkeypatch.setattr(parent, "LIBRARY_TIMEOUT_S", 1.0)
    monkeypatch.setattr(parent, "LIBRARIES_MEMORY_BYTES", 256 << 20)
    monkeypatch.setattr(parent, "_has_gpu", lambda: True)
    engine = Engine(tmp_path / "engine", level)
    yield engine
    await engine.parents.close()


@pytest.mark.parametrize("level", _levels())
async def test_libraries_of_packs_are_imported_before_and_unfit_ones_left_out(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    for name, text in LIBRARIES.items():
        engine.add_library(name, text)

    with caplog.at_level(logging.WARNING):
        modules = await engine.modules()

    assert {"torch", "good", "good.part", "last"} <= modules
    assert not modules & {*UNFIT, "good.unused", "late", "typed", "shadowed", "one", "nodes"}
    assert {name: sum(f"not import {name}:" in line for line in caplog.messages) for name in UNFIT} == dict.fromkeys(
        UNFIT, 1
    )


async def test_without_a_gpu_a_library_may_ask_for_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "_has_gpu", lambda: False)
    engine.add_library("asks", LIBRARIES["asks"])

    assert "asks" in await engine.modules()


async def test_no_collection_of_a_fork_goes_through_what_its_parent_imported(engine: Engine) -> None:
    engine.add_library("good", "made = [[] for _ in range(5000)]")

    assert (await engine.found())["frozen"] > 5000


async def test_libraries_of_comfyui_itself_are_found_in_its_source(engine: Engine) -> None:
    engine.add_library("good")
    source = engine.installation.source
    for name, text in (
        ("comfy/sd.py", "import good"),
        ("custom_nodes/left/a.py", "import last"),
        ("venv/b.py", "import last"),
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    engine.add_library("last")
    (engine.packs / "one" / "nodes.py").unlink()

    assert {"good", "last"} & await engine.modules() == {"good"}


async def test_a_library_once_left_out_delays_no_later_parent(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    engine.add_library("hangs", LIBRARIES["hangs"])
    await engine.modules()
    (process,) = engine.parents.processes
    os.killpg(process, signal.SIGKILL)

    with caplog.at_level(logging.WARNING):
        caplog.clear()
        modules = await engine.modules()

    assert "hangs" not in modules
    assert not [line for line in caplog.messages if "does not import" in line]


async def test_installed_libraries_and_packs_are_in_the_next_fork_and_no_running_one_ends(engine: Engine) -> None:
    running = await engine.start()
    assert "last" not in await engine.modules()

    engine.add_library("last")
    with_library = await engine.modules()
    engine.add_library("good")
    engine.add_pack("two", "import good")
    with_pack = await engine.modules()

    assert "last" in with_library
    assert "good" in with_pack
    assert running.is_running
    await running.stop()


@pytest.mark.parametrize("source", ["(" * 100_000, "-" * 500_000 + "1", "x = \0"])
async def test_no_source_of_a_pack_stops_a_start(engine: Engine, source: str) -> None:
    engine.add_pack("hostile", source)

    assert "last" not in await engine.modules()


async def test_libraries_of_two_environments_are_kept_and_a_third_ends_the_first(engine: Engine) -> None:
    environments = [replace(engine.environment, packs=(engine.folder / name,)) for name in ("a", "b", "c")]
    first, second = [await engine.parents.prepare(each) for each in environments[:2]]

    assert await engine.parents.prepare(environments[0]) is first
    await engine.parents.prepare(environments[2])

    assert not second.is_running
    assert first.is_running
    assert len(engine.parents.processes) == 2


SPY = """
import glob, os, socket
found = {"variables": sorted(os.environ)}
def attempt(name, act):
    try:
        found[name] = repr(act())
    except Exception as error:
        found[name] = "refused"
def connect():
    with socket.socket() as client:
        client.connect(("127.0.0.1", PORT))
attempt("network", connect)
attempt("file", lambda: open("SECRET").read())
attempt("worker", lambda: open("/proc/WORKER/environ").read())
attempt("write", lambda: open("SITE/left", "w"))
"""


@pytest.mark.parametrize("level", _levels())
async def test_a_library_has_no_secrets_no_network_and_writes_nowhere_when_it_is_imported(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYWARD_TOKEN", "secret")
    (engine.folder / "secret").write_text("secret")
    engine.add_pack("two", "import spy")
    with socket.create_server(("127.0.0.1", 0)) as server:
        facts = {"PORT": server.getsockname()[1], "SECRET": engine.folder / "secret"}
        facts |= {"WORKER": os.getpid(), "SITE": engine.site}
        text = SPY
        for name, fact in facts.items():
            text = text.replace(name, str(fact))
        engine.add_library("spy", text)
        spied = (await engine.found())["spied"]

    assert "COMFYWARD_TOKEN" not in spied.pop("variables")
    if engine.level is not walls.Level.NONE:
        assert spied == dict.fromkeys(("network", "file", "worker", "write"), "refused")
