"""Paths of this host, replaced by those that a caller knows: /input/a.png, /models/loras/b.pt, ComfyUI/nodes.py.

The worker's own folders are private to its operator: no message, traceback or log of a run contains them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

import comfyward
from comfyward.comfy.process import EXTENSION_DIR, ComfySpec
from comfyward.worker.protocol import Ended, FailureReport

_RUNS_FOLDERS = ("input", "models", "output", "temp")
_PACKS = "ComfyUI/custom_nodes"
_BUILT = {"ComfyUI": "ComfyUI", "packs": _PACKS, "venv": "python"}


class Places:
    """Rewrites everything that the run's account can read.

    `data_dir` holds the worker's files and cache, `environments` those that are built on its host.

    The folders of all generations of ComfyUI, whose base folders differ by a number, have the same names.
    """

    def __init__(self, spec: ComfySpec, data_dir: Path, environments: Path) -> None:
        self._names = dict(_spellings(_named(spec, data_dir)))
        longest_first = sorted(self._names, key=len, reverse=True)
        # Each file of a run has a second path, by its content, and lies where only ComfyUI can read it.
        bases = "|".join(re.escape(str(base)) for base in {spec.base_dir, spec.base_dir.resolve()})
        self._generation = re.compile(rf"({bases})-\d+(?![\w.-])")
        self._by_content = re.compile(rf"({bases})/content/[0-9a-f]+(?=/)")
        self._stored = re.compile(rf"(?:{bases})/files/[0-9a-f]+(?=/)")
        roots = "|".join(re.escape(str(root)) for root in {environments, environments.resolve()})
        self._built = re.compile(rf"(?:{roots})/[0-9a-f]{{64}}/({'|'.join(_BUILT)})(?![\w.-])")
        self._pattern = re.compile(rf"(?:{'|'.join(map(re.escape, longest_first))})(?![\w.-])")

    def named(self, text: str) -> str:
        """A string with names instead of this host's paths."""
        plain = self._generation.sub(lambda found: found[1], text)
        plain = self._stored.sub("", self._by_content.sub(lambda found: found[1], plain))
        plain = self._built.sub(lambda found: _BUILT[found[1]], plain)
        return self._pattern.sub(lambda found: self._names[found.group()], plain)

    def redacted(self, ended: Ended) -> Ended:
        """The last report of a run, without this host's paths."""
        failure = ended.failure and msgspec.convert(self.within(msgspec.to_builtins(ended.failure)), FailureReport)
        return msgspec.structs.replace(
            ended, failure=failure, node_results=self.within(ended.node_results), log=self.named(ended.log)
        )

    def within(self, value: Any) -> Any:
        """A value with names instead of this host's paths in all its strings."""
        match value:
            case str():
                return self.named(value)
            case dict():
                return {self.within(key): self.within(inner) for key, inner in value.items()}
            case list():
                return [self.within(inner) for inner in value]
            case _:
                return value


def _named(spec: ComfySpec, data_dir: Path) -> Iterable[tuple[Path, str]]:
    """Each place with its name; the first name of a place wins."""
    copy = spec.base_dir / "source"  # of ComfyUI, which runs from there
    yield from ((root / folder, f"/{folder}") for root in (spec.base_dir, copy) for folder in _RUNS_FOLDERS)
    packs = ("custom_nodes", *(f"custom_nodes_{number}" for number in range(1, len(spec.custom_nodes_dirs))))
    yield from ((copy / name, _PACKS) for name in packs)
    yield from ((folder, "/models") for folder in spec.model_dirs)
    yield from ((folder, _PACKS) for folder in (*spec.custom_nodes_dirs, EXTENSION_DIR))
    yield from ((folder, "ComfyUI") for folder in (copy, spec.base_dir, spec.installation.source))
    yield spec.installation.python.parent.parent, "python"
    yield from ((folder, "python") for folder in spec.installation.folders)
    yield Path(comfyward.__file__).parent, "comfyward"
    yield data_dir / "cache", "cache"
    yield data_dir, "data"
    yield Path.home(), "~"


def _spellings(named: Iterable[tuple[Path, str]]) -> Iterable[tuple[str, str]]:
    """All spellings of the places: as given, and with links resolved."""
    names: dict[str, str] = {}
    for place, name in named:
        for path in (place, place.resolve()):
            if len(path.parts) > 1:  # the root is everybody's
                names.setdefault(str(path), name)
    return names.items()
