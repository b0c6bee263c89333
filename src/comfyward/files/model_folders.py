"""The operator's folders of models, where the files that graphs name are found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from comfyward.files.model_memory import ModelFile
from comfyward.paths import model_at, model_path


class ModelFolders:
    """Folders with the layout of ComfyUI's models/, in the order in which they are looked through."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots

    def named(self, name: str) -> ModelFile | None:
        """The model that a graph calls by a name, such as flux/dev.safetensors, in any folder of models."""
        parts = _parts(name)
        for root in self._roots if parts else ():
            for kind in _kinds(root):
                if (file := kind.joinpath(*parts)).is_file():
                    return ModelFile(name, model_path("/".join([kind.name, *parts])), str(file))
        return None

    def at(self, path: str) -> ModelFile | None:
        """The model at a path, such as /models/checkpoints/flux/dev.safetensors."""
        kind, *parts = _parts(model_at(path)) or [""]
        for root in self._roots if kind and parts else ():
            if (file := root.joinpath(kind, *parts)).is_file():
                return ModelFile("/".join(parts), path, str(file))
        return None


def _parts(name: str) -> list[str]:
    """The parts of a relative path; none if it leads out of its folder."""
    parts = name.replace("\\", "/").split("/")
    return [] if {"", ".", ".."} & set(parts) or "\0" in name else parts


def _kinds(root: Path) -> Iterator[Path]:
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return
    yield from (root / name for name in folders)
