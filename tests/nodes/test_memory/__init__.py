"""Nodes that read pictures from input/ and remember them, in every way that packs do."""

import functools
import json
import os

import folder_paths
import numpy
import torch
from PIL import Image

_by_name, _by_path, _when_asked, _when_validated = {}, {}, {}, {}
_captured = folder_paths.get_input_directory()


def _load(path):
    with Image.open(path) as picture:
        return torch.from_numpy(numpy.array(picture.convert("RGB")).astype(numpy.float32) / 255)[None]


def _joined(name):
    return os.path.join(folder_paths.get_input_directory(), name)


class _Reads:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {"default": ""})}}


class TestReads(_Reads):
    """Remembers nothing, and does not tell ComfyUI that it reads."""

    def run(self, name):
        return (_load(_joined(name)),)


class TestReadsUnchanged(_Reads):
    """Says that nothing has changed as long as the name is the same."""

    @classmethod
    def IS_CHANGED(cls, name):
        return name

    def run(self, name):
        return (_load(_joined(name)),)


class TestReadsWithoutExtension(_Reads):
    def run(self, name):
        return (_load(os.path.join(_captured, f"{name}.png")),)


class TestReadsPrefix(_Reads):
    """The last of the pictures whose names begin so."""

    def run(self, name):
        found = sorted(each for each in os.listdir(_captured) if each.startswith(name))
        return (_load(os.path.join(_captured, found[-1])),)


class TestReadsEverything(_Reads):
    """The last of all pictures there are, without a name."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        return (_load(_joined(max(each for each in os.listdir(_joined("")) if each.endswith(".png")))),)


class TestReadsSpelled(_Reads):
    """The name comes letter by letter."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT", {"default": 1})}}

    def run(self, count):
        return (_load(_joined("a" * count + ".png")),)


class _Anything(dict):
    def __contains__(self, name):
        return True

    def __getitem__(self, name):
        return ("*",)


class TestReadsObjects(_Reads):
    """Takes objects that hold a name, as some packs' front ends send them."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": _Anything()}

    def run(self, **inputs):
        return (_load(_joined(inputs["row_1"]["files"][0]["picture"])),)


class TestRemembersInItsObject(_Reads):
    def __init__(self):
        self.pictures = {}

    def run(self, name):
        if name not in self.pictures:
            self.pictures[name] = _load(_joined(name))
        return (self.pictures[name],)


class TestRemembersByPath(_Reads):
    def run(self, name):
        path = folder_paths.get_annotated_filepath(name)
        if path not in _by_path:
            _by_path[path] = _load(path)
        return (_by_path[path],)


class TestRemembersByName(_Reads):
    def run(self, name):
        if name not in _by_name:
            _by_name[name] = _load(folder_paths.get_annotated_filepath(name))
        return (_by_name[name],)


class TestRemembersWhenAsked(_Reads):
    """Reads when ComfyUI asks whether it changed."""

    @classmethod
    def IS_CHANGED(cls, name):
        if name not in _when_asked:
            _when_asked[name] = _load(_joined(name))

    def run(self, name):
        return (_when_asked[name],)


class TestRemembersWhenValidated(_Reads):
    """Reads when ComfyUI asks whether its inputs are valid."""

    @classmethod
    def VALIDATE_INPUTS(cls, name):
        if name not in _when_validated:
            _when_validated[name] = _load(_joined(name))
        return True

    def run(self, name):
        return (_when_validated[name],)


class TestRemembersOnItsClass(_Reads):
    last, picture = None, None

    def run(self, name):
        if name != TestRemembersOnItsClass.last:
            TestRemembersOnItsClass.picture = _load(_joined(name))
            TestRemembersOnItsClass.last = name
        return (TestRemembersOnItsClass.picture,)


@functools.lru_cache
def _remembered():
    return TestReadsEverything().run()


class TestRemembersEverything(TestReadsEverything):
    """Reads the folder once, and never again."""

    def run(self):
        return _remembered()


class TestWritesThePrompt:
    """Saves the graph that it is given."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}, "hidden": {"prompt": "PROMPT", "extra": "EXTRA_PNGINFO"}}

    def run(self, images, prompt=None, extra=None):
        with open(os.path.join(folder_paths.get_output_directory(), "prompt.json"), "w") as file:
            json.dump({"prompt": prompt, **(extra or {})}, file)
        return {"ui": {"files": [{"filename": "prompt.json", "subfolder": "", "type": "output"}]}}


NODE_CLASS_MAPPINGS = {
    name: each for name, each in list(globals().items()) if name.startswith("Test") and isinstance(each, type)
}
