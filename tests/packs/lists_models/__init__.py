"""Lists of models as packs make them: kinds of their own, nested ones, several together, names without suffix."""

import json
import os
from pathlib import Path

import folder_paths

# ComfyUI-GGUF: a kind over the folders of another, with a suffix of its own.
folder_paths.folder_names_and_paths["unet_gguf"] = (
    folder_paths.folder_names_and_paths["diffusion_models"][0],
    {".gguf"},
)
# Impact-Subpack: kinds in folders inside a folder.
ULTRALYTICS = os.path.join(folder_paths.models_dir, "ultralytics")
for _kind in ("bbox", "segm"):
    folder_paths.folder_names_and_paths[f"ultralytics_{_kind}"] = ([os.path.join(ULTRALYTICS, _kind)], {".pt", ".onnx"})
# A kind whose only folder is the pack's own.
folder_paths.folder_names_and_paths["own_models"] = ([str(Path(__file__).parent / "own")], {".bin"})
# VideoHelperSuite: a kind without folders, and a tuple of them, which no folder can be added to.
folder_paths.folder_names_and_paths["video_formats"] = ((), {".json"})
# A folder that is read without ComfyUI's help.
PLAIN = os.path.join(folder_paths.models_dir, "plain")


def _text_of(path):
    return {"ui": {"text": [Path(path).read_text()]}}


def _node(choices, path_of):
    class Node:
        CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"name": (choices(),), "mode": (["fast", "exact"],)}}

        def run(self, name, mode):
            return _text_of(path_of(name))

    return Node


def _ultralytics():
    kinds = ("bbox", "segm")
    return [f"{kind}/{name}" for kind in kinds for name in folder_paths.get_filename_list(f"ultralytics_{kind}")]


def _stems():
    return ["None"] + [os.path.splitext(name)[0] for name in folder_paths.get_filename_list("vae")]


def _stem_path(name):
    return next(
        path
        for each in folder_paths.get_filename_list("vae")
        if each.startswith(name)
        for path in [folder_paths.get_full_path("vae", each)]
    )


def _together():
    kinds = {"ckpt": "checkpoints", "lora": "loras"}
    return [f"[{short}] {name}" for short, kind in kinds.items() for name in folder_paths.get_filename_list(kind)]


def _together_path(name):
    short, _, rest = name.partition("] ")
    return folder_paths.get_full_path({"[ckpt": "checkpoints", "[lora": "loras"}[short], rest)


class PowerLoras:
    """rgthree's Power Lora Loader: whatever its page adds is an input, each an object."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": _Flexible()}

    def run(self, **loras):
        names = [value["lora"] if isinstance(value, dict) else json.loads(value)["lora"] for value in loras.values()]
        texts = [Path(folder_paths.get_full_path_or_raise("loras", name)).read_text() for name in names]
        return {"ui": {"text": texts}}


class _Flexible(dict):
    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return ("*",)


class ReadsEmbeddings:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"multiline": True})}}

    def run(self, text):
        folders = folder_paths.get_folder_paths("embeddings")
        found = [path for folder in folders for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return {"ui": {"text": [f"{path.name}={path.read_text()}" for path in found]}}


NODE_CLASS_MAPPINGS = {
    "TestGGUF": _node(
        lambda: folder_paths.get_filename_list("unet_gguf"), lambda name: folder_paths.get_full_path("unet_gguf", name)
    ),
    "TestUltralytics": _node(_ultralytics, lambda name: os.path.join(ULTRALYTICS, name)),
    "TestStems": _node(_stems, _stem_path),
    "TestTogether": _node(_together, _together_path),
    "TestOwn": _node(
        lambda: folder_paths.get_filename_list("own_models"),
        lambda name: folder_paths.get_full_path("own_models", name),
    ),
    "TestPlain": _node(
        lambda: sorted(name for name in os.listdir(PLAIN)) if os.path.isdir(PLAIN) else [],
        lambda name: os.path.join(PLAIN, name),
    ),
    "TestPowerLoras": PowerLoras,
    "TestReadsEmbeddings": ReadsEmbeddings,
}
