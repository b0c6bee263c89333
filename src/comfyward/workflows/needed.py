"""The needs of a workflow's file: node classes, models, files of its caller. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from comfyward.workflows.catalog import INPUT_FOLDER, MODELS, Catalog, InputSpec
from comfyward.workflows.graph import Graph, Node, Text
from comfyward.workflows.listing import Paths, beneath
from comfyward.workflows.model_notes import KnownModels, ModelNote, NotesByName
from comfyward.workflows.needs import MODEL_SUFFIXES
from comfyward.workflows.validation import check_file, known_files, reachable
from comfyward.workflows.verdict import Problem

MAX_NEEDED = 500  # models, and files, of one workflow


@dataclass(frozen=True)
class Where:
    """The place of a need: the path of a node (through its subgraphs), its title and class, and the input's name.

    The name is "" if only the class knows it.
    """

    path: str
    title: str
    class_type: str
    input: str = ""


@dataclass(frozen=True)
class NeededModel:
    """A model by its name as the graph has it. `folder` is None if only the class knows it.

    `path` is the one at which runs would find it; None if there is none, or the name cannot be one. `is_here` if every
    worker has it, or the account. One that is guessed is only a text among the values of a node.
    """

    name: str
    folder: str | None
    path: str | None
    is_here: bool
    where: tuple[Where, ...]
    is_guessed: bool = False

    @property
    def file_name(self) -> str:
        return self.name.replace("\\", "/").rpartition("/")[2]


@dataclass(frozen=True)
class NeededInput:
    """A file of the caller that is not there."""

    name: str
    path: str | None
    where: tuple[Where, ...]


Need = TypeVar("Need", NeededModel, NeededInput)


@dataclass(frozen=True)
class MissingClass:
    """A node class that an environment lacks; `why`, if its pack is there."""

    name: str
    where: tuple[Where, ...]
    why: str | None = None


@dataclass(frozen=True)
class Needed:
    """The needs of a graph in one environment, each once."""

    classes: tuple[MissingClass, ...] = ()
    models: tuple[NeededModel, ...] = ()
    inputs: tuple[NeededInput, ...] = ()

    @property
    def missing_models(self) -> list[NeededModel]:
        return [model for model in self.models if not model.is_here]

    def paths(self) -> set[str]:
        """The paths of what is missing."""
        places = (*(model.path for model in self.missing_models), *(file.path for file in self.inputs))
        return {place for place in places if place is not None}


@dataclass(frozen=True)
class Written:
    """A workflow as its file has it, as a graph. `titles` are by node id, which is a path through subgraphs.

    `unnamed` are the nodes of which only the values are known, not the names of their inputs. `notes` are the models
    that a node names, by its id.
    """

    graph: Graph
    titles: Mapping[str, str] = field(default_factory=dict)
    unnamed: Collection[str] = frozenset()
    notes: Mapping[str, Sequence[ModelNote]] = field(default_factory=dict)

    def where(self, node: Node, input_name: str = "") -> Where:
        title = self.titles.get(node.id) or (node.title or "").strip() or node.class_type
        return Where(node.id, title, node.class_type, "" if node.id in self.unnamed else input_name)


def missing_classes(written: Written, catalog: Catalog) -> tuple[MissingClass, ...]:
    """The classes that a catalog lacks, in the order of their first node."""
    nodes = list(written.graph.nodes.values())
    found: dict[str, list[Where]] = {name: [] for name in catalog.lacking(node.class_type for node in nodes)}
    for node in nodes:
        if node.class_type in found:
            found[node.class_type].append(written.where(node))
    return tuple(MissingClass(name, tuple(where), catalog.why_missing(name)) for name, where in found.items())


def needed(written: Written, catalog: Catalog, own: Paths, known: KnownModels) -> Needed:
    """The needs of a workflow in the environment that has this catalog. `own` are the account's files."""
    classes = missing_classes(written, catalog)
    models, inputs = _Found[NeededModel](), _Found[NeededInput]()
    for node in _asked(written, catalog, is_whole=not classes):
        if node.id in written.unnamed or not catalog.has(node.class_type):
            for model in _guessed(node, written, known):
                models.add((model.folder or "", model.name), model)
            continue
        for spec in catalog.inputs(node.class_type):
            match _needed_by(node, spec, written, catalog, own):
                case NeededModel() as model:
                    models.add((model.folder or "", model.name), model)
                case NeededInput() as file:
                    inputs.add((file.name,), file)
    found = [_looked_for(model, catalog, own) if model.is_guessed else model for model in models.all()]
    return Needed(classes, tuple(found), inputs.all())


class _Found(Generic[Need]):
    """Needs by a key, each with all places at which it was found."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], Need] = {}
        self._where: dict[tuple[str, ...], list[Where]] = {}

    def add(self, key: tuple[str, ...], need: Need) -> None:
        if key in self._first or len(self._first) < MAX_NEEDED:
            self._first.setdefault(key, need)
            self._where.setdefault(key, []).extend(need.where)

    def all(self) -> tuple[Need, ...]:
        return tuple(replace(need, where=tuple(self._where[key])) for key, need in self._first.items())


def _asked(written: Written, catalog: Catalog, *, is_whole: bool) -> Iterable[Node]:
    """The nodes that ComfyUI would check: those on which an output depends, if the graph is known as a whole."""
    nodes = list(written.graph.nodes.values())
    if not is_whole or written.unnamed:
        return nodes
    outputs = [node for node in nodes if catalog.may_be_output(node.class_type)]
    return list(reachable(written.graph, outputs, catalog)) if outputs else nodes


def _needed_by(
    node: Node, spec: InputSpec, written: Written, catalog: Catalog, own: Paths
) -> NeededModel | NeededInput | None:
    """The file that an input names, if it is a model, or a file of the caller that is not there."""
    folder, value = catalog.folder(node.class_type, spec.name), node.inputs.get(spec.name)
    if folder is None or not isinstance(value, str) or not value:
        return None
    where = (written.where(node, spec.name),)
    problem = check_file(node, spec, value, folder, catalog, own)
    if folder == INPUT_FOLDER:
        name = value.removesuffix(" [input]")
        return None if problem is None else NeededInput(name, beneath(INPUT_FOLDER, name), where)
    if problem is not None:
        return NeededModel(value, folder, _place(problem, folder, value), False, where)
    if value.lower().endswith(MODEL_SUFFIXES) or value in known_files(node, spec, catalog, own):
        return NeededModel(value, folder, _owned(catalog.places(node.class_type, spec.name, value), own), True, where)
    return None


def _place(problem: Problem, folder: str, name: str) -> str | None:
    return problem.place or beneath(f"{MODELS}/{folder}", name)


def _owned(places: Iterable[str], own: Paths) -> str | None:
    return next((place for place in sorted(places) if place in own), None)


def _guessed(node: Node, written: Written, known: KnownModels) -> Iterator[NeededModel]:
    """The models that a node names whose class, or whose inputs, nobody here knows."""
    noted = {note.name: note.directory for note in written.notes.get(node.id, ())}
    for text in _texts(node):
        name = text.value
        if name not in noted and not name.lower().endswith(MODEL_SUFFIXES):
            continue
        folder = noted.get(name) or known.directory_of(name.rpartition("/")[2])
        path = beneath(f"{MODELS}/{folder}", name) if folder else None
        where = (written.where(node, text.input_name),)
        yield NeededModel(name, folder, path, False, where, is_guessed=True)


def _looked_for(model: NeededModel, catalog: Catalog, own: Paths) -> NeededModel:
    return replace(model, is_here=_is_anywhere(model.name, model.folder, catalog, own))


def _is_anywhere(name: str, folder: str | None, catalog: Catalog, own: Paths) -> bool:
    """True if a folder, or any, has a model of this name."""
    kinds = [folder] if folder else [*catalog.kinds, *catalog.models]
    listed = (listing for kind in kinds for listing in catalog.listings_of_kind(kind))
    return any(name in catalog.models.get(kind, ()) for kind in kinds) or any(
        f"/{listing.directory}/{name}" in own for listing in listed
    )


def _texts(node: Node) -> Iterator[Text]:
    """The plain texts of a node's inputs that can be names, also those in objects and lists."""
    waiting: list[tuple[str, Any]] = list(node.inputs.items())[::-1]
    while waiting:
        name, value = waiting.pop()
        match value:
            case str() if 0 < len(value) <= 512 and value.isprintable():
                yield Text(node, name, value)
            case dict():
                waiting.extend((name, inner) for inner in value.values())
            case list():
                waiting.extend((name, inner) for inner in value)


@dataclass(frozen=True)
class Source:
    """The place of a missing model. `told_by` is "node", "note", or "templates"."""

    url: str
    sha256: str | None
    told_by: str


def source_of(
    model: NeededModel, written: Written, noted: NotesByName, known: KnownModels, catalog: Catalog
) -> Source | None:
    """The place of a model: as its own node says, the rest of its file, or graphs that are trusted more.

    Only of one whose name and folder agree. `noted` are the notes of the whole file.
    """
    names = dict.fromkeys((model.name, model.file_name))
    of_nodes = (note for where in model.where for note in written.notes.get(where.path, ()) if note.name in names)
    for note in (*of_nodes, *(note for name in names for note in noted.get(name, ()))):
        if _agrees(note.directory, model.folder, catalog):
            return Source(note.url, note.sha256, "node" if note.directory else "note")
    for directory in _directories(model.folder, catalog):
        if (found := known.of(directory, model.file_name)) is not None:
            return Source(found.url, found.sha256, "templates")
    return None


def _agrees(directory: str, folder: str | None, catalog: Catalog) -> bool:
    """True if a folder that a note names is one in which ComfyUI would find the model, or is below it."""
    if not directory or folder is None:
        return True
    return any(directory == each or directory.startswith(f"{each}/") for each in _directories(folder, catalog))


def _directories(folder: str | None, catalog: Catalog) -> list[str]:
    """The folders below models/ that ComfyUI reads for a kind of model."""
    if folder is None:
        return []
    read = (listing.directory.removeprefix(f"{MODELS}/") for listing in catalog.listings_of_kind(folder))
    return list(dict.fromkeys((folder, *read)))
