"""How long environments of ten and of forty packs take to be resolved, built, tried and switched to; and their bytes.

    python -m bench.environments            # with the real ComfyUI, uv's cache warm, and the package index

Ten are the packs of the package index that load on a CPU and generated ones to make up the number. `own` is what a
revision adds to the disk: the files that have no other name, in uv's cache or in another environment.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import report
from comfyward.server_settings import default_data_dir
from tests.stack.graphs import node, picture
from tests.stack.stack import Stack

COMFYUI = "0.30.0"
OF_THE_INDEX = (
    "pypi:comfyui-tooling-nodes==0.1.0",
    "pypi:comfyui-ib-customnodes==0.2.3",
    "pypi:civitai-comfy-nodes==0.2.0",
    "pypi:comfyui-orbitquant==0.9.0",
)
# What generated packs ask for: as packs do, with overlaps, and little that ComfyUI lacks.
ASKED = (
    "numpy",
    "pillow",
    "requests",
    "pyyaml>=6",
    "colorama",
    "rich>=13",
    "scipy",
    "packaging",
    "cachetools",
    "tabulate",
)
MODULES = 10
LINES = 300


class Bench:
    """Environments of one server with one CPU worker. Their folder is beside uv's cache, on the same file system."""

    def __init__(self, stack: Stack, environments: Path, packs: Path) -> None:
        self.stack, self.environments, self.packs = stack, environments, packs
        self.client = stack.client()

    def measure(self, name: str, count: int) -> dict[str, object]:
        self._cli("create", name, "--comfyui", COMFYUI)
        sources = [*OF_THE_INDEX, *(str(_generated(self.packs, number)) for number in range(count))][:count]
        for source in sources:
            self._cli("add", name, source)
        before = set(self.environments.iterdir())
        resolved_s = _timed(lambda: self._cli("lock", name))
        built_s = _timed(lambda: self._cli("build", name))
        own = sum(_own_bytes(folder) for folder in set(self.environments.iterdir()) - before)
        tried_s = _timed(lambda: self._cli("try", name))
        self._cli("promote", name)
        switched_s = _timed(lambda: self._run(name, count))
        warm_s = _timed(lambda: self._run(name, count))
        figures = {"resolve_s": resolved_s, "build_s": built_s, "try_s": tried_s, "switch_and_run_s": switched_s}
        return {"packs": count, **figures, "warm_run_s": warm_s, "own_mb": round(own / 1e6, 1)}

    def _run(self, name: str, count: int) -> None:
        graph: dict[str, Any] = picture(prefix=name)
        if count > len(OF_THE_INDEX):
            graph["last"] = node(f"Bench{count - 1 - len(OF_THE_INDEX)}", value=3)
        ended = self.client.run(graph, environment=name)
        assert ended["status"] == "COMPLETED", ended

    def _cli(self, *arguments: str) -> str:
        return self.stack.cli("environments", *arguments)


def _generated(folder: Path, number: int) -> Path:
    """A pack of MODULES modules with a node, which asks for three packages."""
    pack = folder / f"generated-{number:02}"
    if pack.exists():
        return pack
    pack.mkdir(parents=True)
    wanted = (ASKED[(number + step) % len(ASKED)] for step in range(3))
    (pack / "requirements.txt").write_text("\n".join(wanted) + "\n")
    for module in range(MODULES):
        lines = (f"def f{line}(a, b=1):\n    return a * b + {line + number}\n" for line in range(LINES // 3))
        (pack / f"part_{module}.py").write_text("\n".join(lines))
    imports = "".join(f"from . import part_{module}\n" for module in range(MODULES))
    (pack / "__init__.py").write_text(
        f"{imports}\n\nclass Node:\n    CATEGORY = 'bench'\n    RETURN_TYPES = ('INT',)\n    FUNCTION = 'run'\n"
        "    OUTPUT_NODE = True\n\n    @classmethod\n    def INPUT_TYPES(cls):\n"
        "        return {'required': {'value': ('INT', {'default': 1})}}\n\n"
        "    def run(self, value):\n        return {'ui': {'text': [str(value)]}, 'result': (value,)}\n\n\n"
        f"NODE_CLASS_MAPPINGS = {{'Bench{number}': Node}}\n"
    )
    return pack


def _own_bytes(folder: Path) -> int:
    """The bytes of files that have no other name."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            found = os.lstat(os.path.join(path, name))
            total += found.st_size if found.st_nlink == 1 else 0
    return total


def _timed(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return round(time.monotonic() - began, 2)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=default_data_dir()) as made:
        folder = Path(made)
        folder.chmod(0o755)
        environments = folder / "environments"
        settings = {"environments_dir": str(environments), "comfyui_version": COMFYUI}
        stack = Stack(folder / "data", settings)
        try:
            report("first start, with installation", {"ready_s": _timed(lambda: stack.start().wait_ready())})
            bench = Bench(stack, environments, folder / "packs")
            for name, count in (("none", 0), ("ten", 10), ("forty", 40)):
                report(name, bench.measure(name, count))
        finally:
            stack.stop()
            stack.close()
            shutil.rmtree(environments, ignore_errors=True)


if __name__ == "__main__":
    main()
