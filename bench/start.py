"""How long ComfyUI takes to be ready: plain, forked, with packs, and in a new room for another account.

    python -m bench.start [starts] [row …]      # with the real ComfyUI

- `uncompiled`: no parent to be forked from, and no bytecode; `plain`: with bytecode.
- `parent`: the first start, with the imports of its parent; `forked`: later ones.
- `parent of ten`, `ten packs`: the same with ten packs, two of the registry and eight generated ones that import
  libraries which ComfyUI does not.
- `switch`: a start in a new room, which another account would get. `cold picture` and `warm picture` are such a start
  and a first picture with a checkpoint, which is dropped from the page cache before or is in it. They need the tests'
  model: `python -m pytest tests/stack -k checkpoint` makes it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import uv

sys.path.insert(0, str(Path(__file__).parent.parent))

from comfyward.comfy import parent
from comfyward.comfy.client import ComfyClient
from comfyward.comfy.install import installed
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.comfy.releases import DEFAULT
from comfyward.sandbox import walls
from comfyward.server_settings import default_data_dir
from tests.stack.graphs import text_to_image

TESTS = Path(__file__).parent.parent / "tests"
MODEL = "tiny-sd15.safetensors"
MODELS = default_data_dir() / "test-models" / "one"
REGISTRY = ("comfyui_tooling_nodes", "ComfyUI_Ib_CustomNodes")
GENERATED = 8
MODULES = 25  # of each generated pack

# Libraries that ComfyUI itself does not import, or not these parts of them.
IMPORTED = (
    *("scipy.ndimage", "scipy.optimize", "sympy", "networkx", "torchvision.transforms.v2", "kornia.feature"),
    *("scipy.signal", "transformers.pipelines"),
)


class Bench:
    """Starts ComfyUI processes one after another, below one folder."""

    def __init__(self, home: Path, models: tuple[Path, ...], starts: int) -> None:
        found = installed(default_data_dir() / "environments", DEFAULT)
        assert found is not None, "install ComfyUI first: comfyward comfyui install"
        packs = (TESTS / "nodes",)
        self.home, self.starts = home, starts
        self.spec = ComfySpec(found, home / "comfyui", walls.choose("auto"), False, ("--cpu",), (), packs, models)
        self.parents = ComfyParents(home)
        self._rooms = itertools.count()

    async def plain(self) -> list[float]:
        libraries, parent.LIBRARIES = parent.LIBRARIES, ()
        try:
            return [await self._fresh(self.spec) for _ in range(self.starts)]
        finally:
            parent.LIBRARIES = libraries

    async def uncompiled(self) -> list[float]:
        variables = parent._variables
        parent._variables = lambda environment: {**variables(environment), "PYTHONPYCACHEPREFIX": "/nonexistent"}
        try:
            return await self.plain()
        finally:
            parent._variables = variables

    async def first(self, spec: ComfySpec) -> list[float]:
        return [await self._fresh(spec) for _ in range(self.starts)]

    async def forked(self, spec: ComfySpec) -> list[float]:
        await self._start(self.parents, spec)
        return [await self._start(self.parents, spec) for _ in range(self.starts)]

    async def switch(self) -> list[float]:
        await self._start(self.parents, self.spec)
        return [await self._start(self.parents, self._new_room()) for _ in range(self.starts)]

    async def picture(self, *, cold: bool) -> list[float]:
        await self._start(self.parents, self.spec)
        return [await self._first_picture(self._new_room(), cold) for _ in range(self.starts)]

    async def _first_picture(self, spec: ComfySpec, cold: bool) -> float:
        model = os.open(MODELS / MODEL, os.O_RDONLY)
        if cold:
            os.posix_fadvise(model, 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while os.read(model, 1 << 20):
                pass
        os.close(model)
        return await self._start(self.parents, spec, _picture)

    def _new_room(self) -> ComfySpec:
        return replace(self.spec, base_dir=self.home / f"account-{next(self._rooms)}")

    async def _fresh(self, spec: ComfySpec) -> float:
        parents = ComfyParents(self.home / "fresh")  # closing them removes its copies, and not those of `self.parents`
        took_s = await self._start(parents, spec)
        await parents.close()
        return took_s

    async def _start(
        self, parents: ComfyParents, spec: ComfySpec, then: Callable[[ComfyProcess], Awaitable[None]] | None = None
    ) -> float:
        """The seconds from nothing to an answer."""
        spec.base_dir.mkdir(exist_ok=True)
        process = ComfyProcess(spec, parents)
        began = time.monotonic()
        await process.start()
        if then is not None:
            await then(process)
        took_s = time.monotonic() - began
        if parents._making is not None:
            await parents._making  # the next copy is ready after half a second, which a run takes
        await process.stop()
        return took_s


async def _picture(process: ComfyProcess) -> None:
    prompt_id, graph = str(uuid.uuid4()), text_to_image()
    del graph["lora"]
    for name in ("positive", "negative"):
        graph[name]["inputs"]["clip"] = ["checkpoint", 1]
    graph["sampler"]["inputs"]["model"] = ["checkpoint", 0]
    async with ComfyClient(process.socket, "bench") as client:
        await client.submit(prompt_id, msgspec.Raw(msgspec.json.encode(graph)), msgspec.Raw(b"null"), {})
        while (history := await client.history(prompt_id)) is None:
            await asyncio.sleep(0.02)
        assert history.succeeded, history


def add_packs(folder: Path) -> None:
    """Two packs of the registry, and generated ones, in a folder."""
    pins = TESTS / "packs" / "from_registry.txt"
    command = [
        uv.find_uv_bin(),
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--require-hashes",
        "--target",
        str(folder / "wheels"),
    ]
    subprocess.run([*command, "--python", sys.executable, "-r", str(pins)], check=True)
    (folder / "packs").mkdir()
    for name in REGISTRY:
        (folder / "wheels" / name).rename(folder / "packs" / name)
    for number in range(GENERATED):
        _generate(folder / "packs" / f"generated_{number}", IMPORTED[number % len(IMPORTED)])


def _generate(pack: Path, library: str) -> None:
    """A pack of MODULES modules of about 300 lines, each with a node."""
    pack.mkdir()
    functions = "\n".join(
        f"def f{number}(a, b=1):\n    return [a * b + {number} for _ in range(b)]\n" for number in range(100)
    )
    names = [f"nodes_{number}" for number in range(MODULES)]
    for name in names:
        node = f"class {pack.name}_{name}:\n    CATEGORY = 'bench'\n    RETURN_TYPES = ('INT',)\n    FUNCTION = 'run'\n"
        node += "    @classmethod\n    def INPUT_TYPES(cls):\n        return {'required': {'a': ('INT',)}}\n"
        node += "    def run(self, a):\n        return (a,)\n"
        (pack / f"{name}.py").write_text(f"import {library}\nimport torch\n\n{functions}\n{node}")
    imports = "".join(f"from .{name} import {pack.name}_{name}\n" for name in names)
    mappings = ", ".join(f"'{pack.name}_{name}': {pack.name}_{name}" for name in names)
    (pack / "__init__.py").write_text(f"{imports}NODE_CLASS_MAPPINGS = {{{mappings}}}\n")


async def measure(starts: int, rows: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as folder:
        (Path(folder) / "models").mkdir()
        (Path(folder) / "models" / "checkpoints").symlink_to(MODELS)
        add_packs(Path(folder))
        (Path(folder) / "home").mkdir()
        bench = Bench(Path(folder) / "home", (Path(folder) / "models", MODELS), starts)
        ten = replace(bench.spec, custom_nodes_dirs=(Path(folder) / "packs",))
        table: dict[str, Callable[[], Awaitable[list[float]]]] = {
            "uncompiled": bench.uncompiled,
            "plain": bench.plain,
            "parent": lambda: bench.first(bench.spec),
            "forked": lambda: bench.forked(bench.spec),
            "parent of ten": lambda: bench.first(ten),
            "ten packs": lambda: bench.forked(ten),
            "switch": bench.switch,
            "cold picture": lambda: bench.picture(cold=True),
            "warm picture": lambda: bench.picture(cold=False),
        }
        for name in rows or table:
            report(name, await table[name]())
        await bench.parents.close()


def report(name: str, seconds: list[float]) -> None:
    load = os.getloadavg()[0]
    spread = f"{min(seconds):6.2f} to {max(seconds):6.2f}"
    print(f"{name:14} median {statistics.median(seconds):6.2f} s   {spread}   load {load:.1f}", flush=True)


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:]))
