"""Does at import what Custom-Scripts and Easy-Use do: writes into its own folder, and into ComfyUI's."""

import inspect
import json
import os
from pathlib import Path

import folder_paths
from server import PromptServer

HERE = Path(__file__).parent
COMFYUI = Path(inspect.getfile(PromptServer)).parent

(HERE / "settings.json").write_text(json.dumps({"seen": 1}))
(HERE / "wildcards").mkdir(exist_ok=True)
(HERE / "wildcards" / "colours.txt").write_text("red\n")
os.makedirs(COMFYUI / "web" / "extensions" / "writes_at_import", exist_ok=True)
os.makedirs(os.path.join(folder_paths.base_path, "styles"), exist_ok=True)
os.makedirs(HERE.parent.parent / "pack-data", exist_ok=True)


class WritesAtImport:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"colour": ((HERE / "wildcards" / "colours.txt").read_text().split(),)}}

    def run(self, colour):
        runs = HERE / "runs.txt"
        before = runs.read_text() if runs.exists() else ""
        runs.write_text(before + colour)
        return {"ui": {"text": [f"{before}{colour}"]}}


NODE_CLASS_MAPPINGS = {"WritesAtImport": WritesAtImport}
