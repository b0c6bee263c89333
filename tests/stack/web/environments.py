"""Locks and trials for the scenarios of environments' pages: what no worker has to build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from comfyward.environments.lock import LockedPack, LockedPackage, Wheel

TOOLING = "pypi:comfyui-tooling-nodes==0.1.0"
MASKS = "git+https://github.com/someone/masks@0123456789012345678901234567890123456789"
COLORAMA = LockedPackage("colorama", "0.4.6", (Wheel("colorama-0.4.6-py3-none-any.whl", 25_000, "0" * 64),))
FANCY = {"https://github.com/someone/fancy-nodes": [["Fancy Blend"], {"title_aux": "Fancy"}]}


def write_node_map(folder: Path) -> str:
    """ComfyUI-Manager's lists of packs, which know the pack of one class. Returns the folder."""
    for name, content in (("extension-node-map", FANCY), ("custom-node-list", {"custom_nodes": []})):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return str(folder)


def spec_of(*sources: str, comfyui: str = "0.3.75") -> str:
    """A spec in the form in which it is stored."""
    return f'comfyui = "{comfyui}"\n' + "".join(f'\n[[pack]]\nsource = "{source}"\n' for source in sources)


def locked(source: str, tree: str = "t", **more: Any) -> LockedPack:
    folder = source.partition("==")[0].partition("@")[0].rpartition("/")[2].rpartition(":")[2]
    return LockedPack(folder, source, tree, **more)


def imported(folder: str, *classes: str, seconds: float = 0.3) -> dict[str, Any]:
    """A pack of a trial that was imported."""
    return {"folder": folder, "imported": True, "classes": list(classes), "seconds": seconds}
