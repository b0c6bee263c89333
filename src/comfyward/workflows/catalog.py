"""The catalog of a ComfyUI installation, as its extension exports it and the server stores it.

The wire form is JSON. An older worker does not send the last seven keys:

    {"comfyui_version": "0.30.0",
     "nodes":     {class: entry of ComfyUI's /object_info},
     "folders":   {class: {input: model folder, or "input" for files of the caller}},
     "unchecked": {class: [inputs that the class validates itself], or ["*"] for all},
     "models":    {folder: [file names that every worker has]},
     "kinds":     {folder: [Listing]}: the files that ComfyUI finds in a model folder,
     "listings":  {class: {input: [Listing]}}: the files that an input offers,
     "follows":   {class: [directories on which its lists depend in an unknown way; "*" for any]},
     "open_types": {class: {"inputs": [names], "outputs": bool}}: types that also accept other types,
     "checks_combos": true if ComfyUI checks a value against the choices of a COMBO,
     "failures":  [Failure]: packs, and files of ComfyUI's own, that did not load,
     "model_info": {folder: {file name: metadata from comfyui-tooling-nodes}}, if that pack is installed,
     "replacements": {class that is gone: [entry of ComfyUI's /node_replacements]}}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from comfyward.workflows.class_inputs import AllInputs
from comfyward.workflows.graph import Graph
from comfyward.workflows.listing import Listing, Paths, places
from comfyward.workflows.offer import NOWHERE, Elsewhere
from comfyward.workflows.replacements import (
    Replacement,
    Replacements,
    replaced_classes,
    replacement_of,
    with_replacements,
)

INPUT_FOLDER = "input"
MODELS = "models"


@dataclass(frozen=True)
class InputSpec:
    """An input of a node class, as in /object_info."""

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
class Failure:
    """A pack, a file of ComfyUI's own nodes, or a class that did not load. `classes` may be incomplete."""

    name: str
    error: str
    kind: str = "pack"  # pack, core, class
    traceback: str = ""
    classes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Failure:
        classes = tuple(data.get("classes", ()))
        return cls(data["name"], data["error"], data.get("kind", "pack"), data.get("traceback", ""), classes)

    def __str__(self) -> str:
        return f"{self.name} did not load: {self.error}"


@dataclass(frozen=True)
class Catalog:
    comfyui_version: str = ""
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    folders: dict[str, dict[str, str]] = field(default_factory=dict)
    unchecked: dict[str, list[str]] = field(default_factory=dict)
    models: dict[str, list[str]] = field(default_factory=dict)
    kinds: dict[str, list[Listing]] = field(default_factory=dict)
    listings: dict[str, dict[str, list[Listing]]] = field(default_factory=dict)
    follows: dict[str, list[str]] = field(default_factory=dict)
    open_types: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks_combos: bool = True
    failures: tuple[Failure, ...] = ()
    model_info: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    replacements: Replacements = field(default_factory=dict)
    elsewhere: Elsewhere = NOWHERE  # knows what has the classes that this catalog lacks

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Catalog:
        listings = data.get("listings", {})
        return cls(
            comfyui_version=str(data.get("comfyui_version", "")),
            nodes=data.get("nodes", {}),
            folders=data.get("folders", {}),
            unchecked=data.get("unchecked", {}),
            models=data.get("models", {}),
            kinds={kind: [Listing.from_json(each) for each in found] for kind, found in data.get("kinds", {}).items()},
            listings={
                name: {key: [Listing.from_json(each) for each in found] for key, found in inputs.items()}
                for name, inputs in listings.items()
            },
            follows=data.get("follows", {}),
            open_types=data.get("open_types", {}),
            checks_combos=bool(data.get("checks_combos", True)),
            failures=tuple(Failure.from_json(each) for each in data.get("failures", ())),
            model_info=data.get("model_info", {}),
            replacements=data.get("replacements", {}),
        )

    def inputs(self, class_type: str) -> Iterator[InputSpec]:
        """The required and optional inputs of a class, in their declared order."""
        sections = self.nodes.get(class_type, {}).get("input") or {}
        is_open = self.open_types.get(class_type, {}).get("inputs", ())
        for section in ("required", "optional"):
            for name, spec in (sections.get(section) or {}).items():
                if not isinstance(spec, list) or not spec:
                    continue
                options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
                yield InputSpec(name, "*" if name in is_open else spec[0], options, required=section == "required")

    def is_choice(self, class_type: str, input_name: str) -> bool:
        """True if an input takes one of several words that are not files."""
        sections = self.nodes.get(class_type, {}).get("input") or {}
        specs = [(sections.get(section) or {}).get(input_name) for section in ("required", "optional")]
        is_list = any(isinstance(spec, list) and spec and isinstance(spec[0], list) for spec in specs)
        return is_list and not self.listings_of(class_type, input_name)

    def outputs(self, class_type: str) -> list[Any] | None:
        """The types of a class's outputs; None if only ComfyUI knows them."""
        if class_type not in self.nodes or self.open_types.get(class_type, {}).get("outputs"):
            return None
        declared = self.nodes[class_type].get("output")
        return list(declared) if isinstance(declared, list | str) else []

    def has(self, class_type: str) -> bool:
        """True if ComfyUI has a class, even one that failed to describe itself."""
        return class_type in self.nodes or class_type in self._undescribed

    def may_be_output(self, class_type: str) -> bool:
        return class_type in self._undescribed or bool(self.nodes[class_type].get("output_node"))

    def is_core(self, class_type: str) -> bool:
        """True if a class is part of ComfyUI itself."""
        return class_type not in self.packs

    def folder(self, class_type: str, input_name: str) -> str | None:
        """The model folder (or "input") whose file names an input takes; None for other inputs."""
        return self.folders.get(class_type, {}).get(input_name)

    def listings_of(self, class_type: str, input_name: str) -> list[Listing]:
        """The files that an input offers; empty if it offers none."""
        found = self.listings.get(class_type, {}).get(input_name)
        if found is not None:
            return found
        folder = self.folder(class_type, input_name)
        if folder is None:
            return []
        return [Listing(INPUT_FOLDER)] if folder == INPUT_FOLDER else self.listings_of_kind(folder)

    def listings_of_kind(self, kind: str) -> list[Listing]:
        """The files that ComfyUI finds in a model folder."""
        return self.kinds.get(kind) or [Listing(f"{MODELS}/{kind}")]

    def places(self, class_type: str, input_name: str, text: str) -> set[str]:
        """The paths at which the file named by an input's text may be."""
        return places(self.listings_of(class_type, input_name), text)

    def names(self, paths: Paths) -> dict[str, set[str]]:
        """The names of files by the model folder in which ComfyUI finds them; "input" for input files.

        >>> catalog = Catalog(kinds={"text_encoders": [Listing("models/text_encoders"), Listing("models/clip")]})
        >>> catalog.names(Paths(["/models/clip/a.safetensors"]))["text_encoders"]
        {'a.safetensors'}
        """
        listings = {kind: self.listings_of_kind(kind) for kind in (*self.kinds, *self.models)}
        for path in paths:
            root, _, rest = path.removeprefix("/").partition("/")
            kind, inside, _ = rest.partition("/")
            if root == MODELS and inside and kind not in listings:
                listings[kind] = [Listing(f"{MODELS}/{kind}")]
        listings[INPUT_FOLDER] = [Listing(INPUT_FOLDER)]
        return {kind: names for kind, found in listings.items() if (names := paths.offered(found))}

    def models_with(self, own: Paths) -> dict[str, list[str]]:
        """Model names by folder: those that every worker has, and those among an account's files."""
        found = {kind: dict.fromkeys(names) for kind, names in self.models.items()}
        for kind, names in self.names(own).items():
            if kind != INPUT_FOLDER:
                found.setdefault(kind, {}).update(dict.fromkeys(names))
        return {kind: sorted(names) for kind, names in sorted(found.items())}

    def lists_change(self, class_type: str, brought: Paths) -> bool:
        """True if the files of a run may change a class's lists, so that the catalog's do not hold."""
        follows = self.follows.get(class_type, ())
        return "*" in follows or any(brought.below(directory) for directory in follows)

    @cached_property
    def laid_out(self) -> AllInputs:
        """The sockets and widgets that the editor gives the nodes of each class, and gave those of classes that are
        replaced."""
        return AllInputs({**replaced_classes(self.replacements, self.nodes), **self.nodes})

    @cached_property
    def display_names(self) -> dict[str, str]:
        """Display names by class."""
        return {name: str(info.get("display_name") or name) for name, info in self.nodes.items()}

    def checks_itself(self, class_type: str, input_name: str) -> bool:
        """True if the class validates an input with its own code, so that nobody else can."""
        names = self.unchecked.get(class_type, ())
        return "*" in names or input_name in names

    def lacking(self, classes: Iterable[str]) -> list[str]:
        """The classes that are missing here, and that no other replaces, each once, in their order."""
        return [name for name in dict.fromkeys(classes) if not self.has(name) and self._replacement_of(name) is None]

    def with_replacements(self, graph: Graph) -> Graph:
        """The graph with other classes in place of those that ComfyUI has no more."""
        return with_replacements(graph, self.replacements, self.nodes) if self.replacements else graph

    def why_missing(self, class_type: str) -> str | None:
        """The reason why a class is missing, such as a pack that did not load; None if it is unknown."""
        for failure in self.failures:
            if class_type in failure.classes:
                return f"it comes from {failure.name}, which did not load: {failure.error}"
        packs = [str(failure) for failure in self.failures if failure.kind != "class"]
        return "; ".join(packs) if packs else None

    @cached_property
    def directories(self) -> set[str]:
        """All model folders that ComfyUI or a node reads."""
        of_inputs = (listing for inputs in self.listings.values() for found in inputs.values() for listing in found)
        of_kinds = (listing for found in self.kinds.values() for listing in found)
        found = {listing.directory for listing in (*of_inputs, *of_kinds)} | {
            f"{MODELS}/{kind}" for kind in self.models
        }
        return found - {INPUT_FOLDER}

    @cached_property
    def model_paths(self) -> set[str]:
        """The paths of the models that every worker has."""
        return {f"/{MODELS}/{kind}/{name}" for kind, names in self.models.items() for name in names}

    @cached_property
    def packs(self) -> dict[str, str]:
        """Packs by class, for classes that are not part of ComfyUI itself."""
        packs = {}
        for name, info in self.nodes.items():
            module = str(info.get("python_module", ""))
            if module.startswith("custom_nodes."):
                packs[name] = module.removeprefix("custom_nodes.")
        return packs

    def _replacement_of(self, class_type: str) -> Replacement | None:
        return replacement_of(class_type, self.replacements, self.nodes)

    @cached_property
    def _undescribed(self) -> set[str]:
        return {failure.name for failure in self.failures if failure.kind == "class"}
