"""What a ComfyUI installation offers, as its extension exports it and the server keeps it.

The wire form is JSON:

    {"comfyui_version": "0.3.75",
     "nodes":     {class: entry of ComfyUI's /object_info},
     "folders":   {class: {input: model folder, or "input" for files of the caller}},
     "unchecked": {class: [inputs that the class checks itself], or ["*"] for all},
     "models":    {folder: [file names that every worker has]}}
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

INPUT_FOLDER = "input"

# Directories under models/ that ComfyUI searches for a folder of another name (source: folder_paths.py).
FOLDER_DIRECTORIES: dict[str, tuple[str, ...]] = {
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("diffusion_models", "unet"),
    "controlnet": ("controlnet", "t2i_adapter"),
}


@dataclass(frozen=True)
class InputSpec:
    """One input of a node class, as /object_info describes it."""

    name: str
    type: Any  # a type name, or the list of a combo's options
    options: dict[str, Any]
    required: bool

    @property
    def choices(self) -> list[Any] | None:
        if isinstance(self.type, list):
            return self.type
        if self.type == "COMBO" and isinstance(self.options.get("options"), list):
            choices: list[Any] = self.options["options"]
            return choices
        return None


@dataclass(frozen=True)
class Catalog:
    comfyui_version: str = ""
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    folders: dict[str, dict[str, str]] = field(default_factory=dict)
    unchecked: dict[str, list[str]] = field(default_factory=dict)
    models: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Catalog:
        return cls(
            comfyui_version=str(data.get("comfyui_version", "")),
            nodes=data.get("nodes", {}),
            folders=data.get("folders", {}),
            unchecked=data.get("unchecked", {}),
            models=data.get("models", {}),
        )

    def inputs(self, class_type: str) -> Iterator[InputSpec]:
        """The required and optional inputs of a class, in its own order."""
        sections = self.nodes[class_type].get("input", {})
        for section in ("required", "optional"):
            for name, spec in (sections.get(section) or {}).items():
                options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
                yield InputSpec(name, spec[0], options, required=section == "required")

    def folder(self, class_type: str, input_name: str) -> str | None:
        """The model folder (or "input") whose file names an input takes."""
        return self.folders.get(class_type, {}).get(input_name)

    def checks_itself(self, class_type: str, input_name: str) -> bool:
        """Whether the class validates an input by its own code, so that nobody else can."""
        names = self.unchecked.get(class_type, ())
        return "*" in names or input_name in names

    @cached_property
    def packs(self) -> dict[str, str]:
        """The pack of each class that does not come with ComfyUI."""
        packs = {}
        for name, info in self.nodes.items():
            module = str(info.get("python_module", ""))
            if module.startswith("custom_nodes."):
                packs[name] = module.removeprefix("custom_nodes.")
        return packs


def brought_names(paths: list[str]) -> dict[str, set[str]]:
    """The file names that a run brings, by the folder in which ComfyUI finds them.

    >>> brought_names(["/models/clip/a.safetensors"])["text_encoders"]
    {'a.safetensors'}
    """
    names: dict[str, set[str]] = {}
    for path in paths:
        root, _, rest = path.removeprefix("/").partition("/")
        if root == INPUT_FOLDER:
            names.setdefault(INPUT_FOLDER, set()).add(rest)
            continue
        directory, _, name = rest.partition("/")
        names.setdefault(directory, set()).add(name)
        for folder, directories in FOLDER_DIRECTORIES.items():
            if directory in directories:
                names.setdefault(folder, set()).add(name)
    return names
