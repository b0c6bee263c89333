"""The answer to "what is missing": what a workflow's file lacks here, and what getting it takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from comfyward.errors import ComfywardError
from comfyward.workflows.needed import NeededInput, NeededModel, Source, Where
from comfyward.workflows.offer import Offer


@dataclass(frozen=True)
class OriginFacts:
    """The word of a model's origin: size in bytes, SHA-256, licence, and if it wants a token or a licence accepted.

    Each is None if it is not known. `page` is where a person reads the licence and accepts it, `token` the name under
    which an account keeps its token for the site, `problem` why the file would not come, and `hint` what to do.
    """

    size: int | None = None
    sha256: str | None = None
    licence: str | None = None
    is_gated: bool | None = None
    page: str | None = None
    token: str | None = None
    problem: str | None = None
    hint: str | None = None


NOT_ASKED = OriginFacts()


@dataclass(frozen=True)
class LackedClass:
    """A class that the environment lacks: the packs that have it, the best first, and the environments that do.

    `why` says of a pack that is there why its class is not.
    """

    name: str
    where: tuple[Where, ...]
    offers: tuple[Offer, ...]
    environments: tuple[str, ...]
    why: str | None = None


@dataclass(frozen=True)
class LackedModel:
    """A model that nobody has for the account. `import_id` is of one that is being fetched already."""

    need: NeededModel
    source: Source | None
    facts: OriginFacts
    import_id: str | None


@dataclass(frozen=True)
class Lacks:
    """The classes that an environment lacks; `is_known` is False before a worker has it."""

    environment: str
    classes: tuple[str, ...]
    is_known: bool = True


class Fit(StrEnum):
    """The room that an accelerator's memory has for models."""

    TOGETHER = "together"
    IN_TURN = "in_turn"  # each does, not all: ComfyUI loads one after the other
    TOO_LARGE = "too_large"  # the largest does not
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class AcceleratorFit:
    """An accelerator with its memory in bytes, None if it is not known."""

    accelerator: str
    memory: int | None
    fit: Fit


@dataclass(frozen=True)
class Obstacle:
    """Something that keeps the graph from running although nothing is missing for it: an error, and its place."""

    error: ComfywardError
    where: Where | None = None

    @property
    def message(self) -> str:
        return self.error.message


UNCERTAIN = "No worker has this environment yet: only then are its node classes known for certain."


@dataclass(frozen=True)
class Check:
    """The things that a workflow lacks in an environment. `environments` are all, the best first.

    It is certain once a worker has the environment.
    """

    is_editors: bool
    environment: str
    environments: tuple[Lacks, ...]
    classes: tuple[LackedClass, ...]
    models: tuple[LackedModel, ...]
    inputs: tuple[NeededInput, ...]
    obstacles: tuple[Obstacle, ...]
    accelerators: tuple[AcceleratorFit, ...]
    is_certain: bool = True

    @property
    def runs(self) -> bool:
        """True if a run would be taken as it is."""
        return self.is_certain and not (self.classes or self.models or self.inputs or self.obstacles)

    @property
    def best(self) -> str | None:
        """The environment that has all classes, or the most; None before one is known."""
        return next((each.environment for each in self.environments if each.is_known), None)

    @property
    def bytes_to_come(self) -> int:
        """The bytes of the missing models whose size is known."""
        return sum(model.facts.size or 0 for model in self.models)

    @property
    def unknown_sizes(self) -> int:
        """The number of missing models whose size is not known."""
        return sum(model.facts.size is None for model in self.models)


def ranked(lacks: Iterable[Lacks], asked: str) -> tuple[Lacks, ...]:
    """The environments, the one that lacks the least first; in a tie the one that was asked for, then by name."""
    return tuple(
        sorted(
            lacks,
            key=lambda each: (
                not each.is_known,
                len(each.classes),
                each.environment != asked,
                each.environment != "default",
                each.environment,
            ),
        )
    )


def fits(memory: Mapping[str, int | None], sizes: Sequence[int | None]) -> tuple[AcceleratorFit, ...]:
    """Each accelerator, and the fit of models of these sizes there (bytes, None for an unknown one)."""
    return tuple(AcceleratorFit(name, have, _fit(have, sizes)) for name, have in sorted(memory.items()))


def _fit(memory: int | None, sizes: Sequence[int | None]) -> Fit:
    known = [size for size in sizes if size is not None]
    if memory is None:
        return Fit.UNKNOWN if sizes else Fit.TOGETHER
    if max(known, default=0) > memory:
        return Fit.TOO_LARGE
    if len(known) < len(sizes):
        return Fit.UNKNOWN
    return Fit.TOGETHER if sum(known) <= memory else Fit.IN_TURN


def check_json(check: Check) -> dict[str, Any]:
    """The JSON of a check, as the API answers it."""
    return {
        "runs": check.runs,
        "format": "editor" if check.is_editors else "api",
        "environment": check.environment,
        "best_environment": check.best,
        "environments": [
            {
                "name": each.environment,
                "has_all": each.is_known and not each.classes,
                "lacks": list(each.classes) if each.is_known else None,
            }
            for each in check.environments
        ],
        "classes": [_class_json(each) for each in check.classes],
        "models": [_model_json(each) for each in check.models],
        "inputs": [input_json(each) for each in check.inputs],
        "problems": [
            *([] if check.is_certain else [{"message": UNCERTAIN, "node": None}]),
            *(
                {"message": each.message, "node": None if each.where is None else _node(each.where)}
                for each in check.obstacles
            ),
        ],
        "accelerators": [
            {"name": each.accelerator, "memory": each.memory, "fit": str(each.fit)} for each in check.accelerators
        ],
        "bytes": check.bytes_to_come,
        "unknown_sizes": check.unknown_sizes,
    }


MAX_NODES_SHOWN = 50


def input_json(needed: NeededInput) -> dict[str, Any]:
    return {"name": needed.name, "path": needed.path, "nodes": _nodes(needed.where)}


def _class_json(lacked: LackedClass) -> dict[str, Any]:
    return {
        "class_type": lacked.name,
        "count": len(lacked.where),
        "nodes": _nodes(lacked.where),
        "packs": [offer.facts() for offer in lacked.offers],
        "environments": list(lacked.environments),
    }


def _model_json(lacked: LackedModel) -> dict[str, Any]:
    need, source, facts = lacked.need, lacked.source, lacked.facts
    return {
        "name": need.name,
        "folder": need.folder,
        "path": need.path,
        "nodes": _nodes(need.where),
        "url": None if source is None else source.url,
        "told_by": None if source is None else source.told_by,
        "sha256": (source.sha256 if source is not None else None) or facts.sha256,
        "size": facts.size,
        "licence": facts.licence,
        "gated": facts.is_gated,
        "page": facts.page,
        "token": facts.token,
        "problem": facts.problem,
        "hint": facts.hint,
        "import": lacked.import_id,
    }


def _nodes(where: Sequence[Where]) -> list[dict[str, Any]]:
    return [_node(each) for each in where[:MAX_NODES_SHOWN]]


def _node(where: Where) -> dict[str, Any]:
    return {"id": where.path, "title": where.title, "class_type": where.class_type, "input": where.input or None}
