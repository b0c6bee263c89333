"""The needs of each of ComfyUI's templates here: which run now, which want models or packs, and which cannot run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode

from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.checks import Against, refusal
from comfyward.dispatch.fitting import Fitted
from comfyward.dispatch.known_models import TemplateModels
from comfyward.errors import InvalidGraph
from comfyward.store import files
from comfyward.store.db import Database
from comfyward.web.comfyui_templates import ComfyUITemplates, Template
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.model_notes import KnownModels
from comfyward.workflows.posted import Posted, opened, written

GB = 1_000_000_000


class Mark(StrEnum):
    """The need that weighs most, in the order in which templates are shown."""

    RUNS = "runs"
    MODELS = "models"
    NODES = "nodes"
    CANNOT = "cannot"


@dataclass(frozen=True)
class TemplateNeeds:
    """The needs of a template in an environment, without an account's files: models by path, classes, obstacles.

    `inputs` are files that a person chooses: each template comes with names of its author's.
    """

    models: tuple[tuple[str, str | None], ...] = ()
    classes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Marked:
    """A template with its mark for an account, and what it lacks: names of models or classes, or sentences."""

    template: Template
    mark: Mark
    lacks: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class TemplateFilter:
    """The templates to show. `most_gb` is the largest size of all models together, 0 for any."""

    words: str = ""
    mark: str = ""
    medium: str = ""
    most_gb: int = 0

    @property
    def query(self) -> str:
        """The query string that asks for the same."""
        return urlencode({"q": self.words, "mark": self.mark, "medium": self.medium, "size": self.most_gb or ""})

    def takes(self, marked: Marked) -> bool:
        template = marked.template
        return (
            template.has(self.words.lower().split())
            and self.mark in ("", marked.mark)
            and self.medium in ("", template.medium)
            and (not self.most_gb or template.model_bytes <= self.most_gb * GB)
        )


class TemplateMarks:
    """The needs are worked out once for a catalog, in a thread, and then fitted to the files of each account."""

    def __init__(self, db: Database, bindings: Bindings, templates: ComfyUITemplates, models: TemplateModels) -> None:
        self._db, self._bindings, self._templates, self._models = db, bindings, templates, models
        self._working_out = asyncio.Lock()
        self._catalog: Catalog | None = None
        self._needs: dict[str, TemplateNeeds] = {}

    async def are_known(self) -> bool:
        """False before a worker has told what is installed."""
        return await self._bindings.catalog_lately() is not None

    async def of(self, account_id: str) -> list[Marked]:
        """All templates with their marks, those that run first. Takes some seconds for a new catalog."""
        catalog = await self._bindings.catalog_lately()
        if catalog is None:
            return []
        needs = await self._needs_in(catalog)
        own = set(await self._db.read(files.usable_paths, account_id))
        marked = [_marked(template, needs[template.name], own) for template in self._templates.all]
        return sorted(marked, key=lambda each: list(Mark).index(each.mark))

    async def _needs_in(self, catalog: Catalog) -> dict[str, TemplateNeeds]:
        async with self._working_out:
            if self._catalog is not catalog:
                known = await self._models.known()
                self._needs = {
                    template.name: await asyncio.to_thread(self._needs_of, template, catalog, known)
                    for template in self._templates.all
                }
                self._catalog = catalog
            return self._needs

    def _needs_of(self, template: Template, catalog: Catalog, known: KnownModels) -> TemplateNeeds:
        return needs_of(Posted(editor=self._templates.graph(template.name)), catalog, known)


def needs_of(posted: Posted, catalog: Catalog, known: KnownModels) -> TemplateNeeds:
    """The needs of a graph in the environment that has a catalog."""
    try:
        found = opened(posted)
        parts, refused = written(found, catalog)
    except InvalidGraph as error:
        return TemplateNeeds(obstacles=(error.message,))
    nobodys = Fitted(parts.graph, {}, {})
    against = Against(found, parts, catalog, nobodys, known, is_certain=True).compared(refusal(refused))
    return TemplateNeeds(
        tuple((model.file_name, model.path) for model in against.needs.missing_models),
        tuple(each.name for each in against.needs.classes),
        tuple(each.name for each in against.needs.inputs),
        tuple(each.message for each in against.obstacles),
    )


def _marked(template: Template, needs: TemplateNeeds, own: set[str]) -> Marked:
    lacking = tuple(dict.fromkeys(name for name, path in needs.models if path is None or path not in own))
    for mark, lacks in _lacks(needs, lacking):
        if lacks:
            return Marked(template, mark, lacks, needs.inputs)
    return Marked(template, Mark.RUNS, (), needs.inputs)


def _lacks(needs: TemplateNeeds, models: tuple[str, ...]) -> Iterator[tuple[Mark, tuple[str, ...]]]:
    """The marks that a template can have, the one that weighs most first, with what it would lack."""
    yield Mark.CANNOT, () if needs.classes else needs.obstacles
    yield Mark.NODES, needs.classes
    yield Mark.MODELS, models
