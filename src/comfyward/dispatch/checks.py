"""Checks: what a workflow's file lacks in an environment, with where to get it. Nothing is changed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.fitting import Fitted, Fitting
from comfyward.dispatch.heavy_requests import HEAVY, HEAVY_BYTES
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.known_models import TemplateModels
from comfyward.dispatch.model_facts import ModelFacts
from comfyward.dispatch.revisions import Revisions
from comfyward.environments.finding.finder import PATIENCE_S, Finder
from comfyward.errors import ComfywardError, InvalidGraph
from comfyward.runs.files import Stored, Url
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.store import imports, workers
from comfyward.store.db import Database, now_ms
from comfyward.workflows import validation
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.check import (
    NOT_ASKED,
    Check,
    LackedClass,
    LackedModel,
    Lacks,
    Obstacle,
    OriginFacts,
    fits,
    ranked,
)
from comfyward.workflows.listing import Paths
from comfyward.workflows.model_notes import KnownModels
from comfyward.workflows.needed import (
    MissingClass,
    Needed,
    NeededModel,
    Source,
    Where,
    Written,
    needed,
    source_of,
)
from comfyward.workflows.offer import Offer
from comfyward.workflows.posted import Opened, Posted, opened, written
from comfyward.workflows.separators import with_slashes
from comfyward.workflows.workflow import Workflow

MAX_ENVIRONMENTS = 60  # that are compared: as many as a server keeps the catalogs of
POOLS_KNOWN_MS = 7 * 24 * 3600 * 1000  # workers seen since then tell the memory of their pool
MAX_OBSTACLES = 50
PAGE_PATIENCE_S = 1.0  # with the registry of packs
NO_FILES: Mapping[str, Url | Stored] = MappingProxyType({})


@dataclass(frozen=True)
class Whereabouts:
    """The places that know where missing things are: packs, models of templates, and the origins of models."""

    finder: Finder
    templates: TemplateModels
    facts: ModelFacts


@dataclass(frozen=True)
class Comparison:
    """A workflow against one environment: its needs, the sources of models, and what else keeps it from running."""

    needs: Needed
    sources: Mapping[NeededModel, Source]
    obstacles: tuple[Obstacle, ...]

    def facts_of(self, facts: Mapping[str, OriginFacts]) -> dict[NeededModel, OriginFacts]:
        """The facts of each model, from those that origins told of its URL."""
        known = {model: facts.get(source.url, NOT_ASKED) for model, source in self.sources.items()}
        return dict.fromkeys((*self.needs.models, *self.needs.missing_models), NOT_ASKED) | known


class Checks:
    def __init__(
        self, db: Database, inventory: Inventory, bindings: Bindings, revisions: Revisions, sources: Whereabouts
    ) -> None:
        self._db, self._inventory, self._bindings, self._revisions = db, inventory, bindings, revisions
        self._sources, self._fitting = sources, Fitting(db)

    async def of_workflow(
        self, workflow: Workflow, brought: Mapping[str, Url | Stored] = NO_FILES, *, asks: bool = True
    ) -> Check:
        """The things that a saved workflow lacks for its owner in its environment, with files of its own by path.

        Raises InvalidRequest for one without a graph, InvalidGraph, InvalidEnvironment.
        """
        texts = [text for text in (workflow.graph, workflow.editor_graph) if text is not None]
        posted = Posted.of(*(msgspec.json.decode(text) for text in texts))
        environment = workflow.environment or DEFAULT_ENVIRONMENT
        size = sum(map(len, texts))
        return await self.check(workflow.account_id, posted, size, environment, brought, asks=asks)

    async def check(
        self,
        account_id: str,
        posted: Posted,
        size: int,
        environment: str = "",
        brought: Mapping[str, Url | Stored] = NO_FILES,
        *,
        asks: bool = True,
    ) -> Check:
        """The things that a workflow of `size` bytes lacks for an account, in an environment or else in the best one.

        `brought` are files that come with it, by path. `asks`: the origins of models are asked, and packs patiently; a
        page does not wait for that. Raises InvalidGraph, InvalidEnvironment.
        """
        weight = size + HEAVY_BYTES  # a check walks a graph so often that none is done on the event loop
        aside = functools.partial(HEAVY.run, account_id, weight)
        await self._bindings.catalog(environment)  # read anew, as intake does: one that is gone is no more
        found = await aside(lambda: opened(posted))
        catalogs = await self._catalogs(environment)
        lacks = ranked([_lacks(name, found.classes, catalog) for name, catalog in catalogs.items()], environment)
        chosen = environment or next((each.environment for each in lacks if each.is_known), DEFAULT_ENVIRONMENT)
        catalog = catalogs[chosen] or catalogs[DEFAULT_ENVIRONMENT]
        parts, refused = await aside(lambda: written(found, catalog or Catalog()))
        own, lost = await self._own(account_id, parts, weight, catalog)
        own = replace(own, brought={**own.brought, **brought})
        known = await self._sources.templates.known()
        is_certain = catalogs[chosen] is not None
        against = Against(found, parts, catalog, own, known, is_certain=is_certain)
        here = await aside(lambda: against.compared([*refusal(refused), *refusal(lost)]))
        check = await self._completed(account_id, found, chosen, lacks, here, own, asks=asks)
        return replace(check, is_certain=is_certain)

    async def _completed(
        self,
        account_id: str,
        found: Opened,
        chosen: str,
        lacks: Sequence[Lacks],
        here: Comparison,
        own: Fitted,
        *,
        asks: bool,
    ) -> Check:
        """The answer, once those who know more have been asked."""
        needs = here.needs
        sized = {model: size for model in needs.models if (size := _size_of(model, own)) is not None}
        unsized = [model for model in by_urgency(needs.models) if model in here.sources and model not in sized]
        urls = [here.sources[model].url for model in unsized] if asks else []
        names = [each.name for each in needs.classes]
        patience_s = PATIENCE_S if asks else PAGE_PATIENCE_S
        facts, offers, (coming, memory), pools = await asyncio.gather(
            self._sources.facts.of(account_id, urls),
            self._sources.finder.find(account_id, names, found.packs, patience_s) if names else _nothing(),
            self._db.read(_rows, account_id, needs.paths(), now_ms()),
            self._inventory.pools(),
        )
        told = here.facts_of(facts)
        sizes = [sized.get(model, told[model].size) for model in needs.models]
        return Check(
            is_editors=found.posted.prompt is None,
            environment=chosen,
            environments=tuple(lacks),
            classes=_lacked_classes(needs.classes, offers, lacks),
            models=tuple(
                LackedModel(model, here.sources.get(model), told[model], coming.get(model.path or ""))
                for model in needs.missing_models
            ),
            inputs=needs.inputs,
            obstacles=here.obstacles,
            accelerators=fits({pool.name: memory.get(pool.name) for pool in pools}, sizes),
        )

    async def _catalogs(self, environment: str) -> dict[str, Catalog | None]:
        """The catalogs by environment: of the default one, of those that have a current revision, of the one asked."""
        standing = (await self._revisions.look()).standing
        current = sorted(name for name, each in standing.items() if each.current)
        names = dict.fromkeys([DEFAULT_ENVIRONMENT, *([environment] if environment else []), *current])
        return {name: await self._bindings.catalog_lately(name) for name in list(names)[:MAX_ENVIRONMENTS]}

    async def _own(
        self, account_id: str, parts: Written, size: int, catalog: Catalog | None
    ) -> tuple[Fitted, ComfywardError | None]:
        """The graph with the account's files that it names, and why some are not there."""
        try:
            return await self._fitting.bring(account_id, parts.graph, size, catalog), None
        except ComfywardError as error:  # an asset that is gone, or too many files
            return Fitted(parts.graph, {}, {}), error


@dataclass(frozen=True)
class Against:
    """A workflow and the environment that it is looked at in.

    Before a worker has the environment, which is then not certain, the default one stands for it; its catalog is None
    before there is any worker.
    """

    opened: Opened
    parts: Written
    catalog: Catalog | None
    own: Fitted
    known: KnownModels
    is_certain: bool

    def compared(self, refused: Sequence[Obstacle]) -> Comparison:
        catalog, paths = self.catalog or Catalog(), Paths(self.own.brought)
        graph = with_slashes(self.own.graph, self.catalog, paths)
        parts = Written(graph, self.parts.titles, self.parts.unnamed, self.parts.notes)
        needs = needed(parts, catalog, paths, self.known)
        if self.catalog is None:
            needs = Needed((), needs.models, needs.inputs)
        sources = {
            model: source
            for model in needs.models
            if (source := source_of(model, parts, self.opened.models, self.known, catalog)) is not None
        }
        return Comparison(needs, sources, tuple([*refused, *self._others(parts, needs, refused)][:MAX_OBSTACLES]))

    def _others(self, parts: Written, needs: Needed, refused: Sequence[Obstacle]) -> Iterable[Obstacle]:
        """The problems that would still be there once all that is missing is there."""
        if self.is_certain and self.catalog is not None and not needs.classes and not refused:
            brought = Paths([*self.own.brought, *needs.paths()])
            yield from _problems(parts, needs, self.catalog, brought)


def _problems(parts: Written, needs: Needed, catalog: Catalog, brought: Paths) -> Iterable[Obstacle]:
    lacking = (*(model.where for model in needs.missing_models), *(file.where for file in needs.inputs))
    files = {(where.path, where.input) for each in lacking for where in each}
    try:
        verdict = validation.check(parts.graph, catalog, brought)
    except InvalidGraph as error:
        yield from refusal(error)
        return
    for problem in verdict.problems:
        if (problem.node.id, problem.input_name) not in files:
            facts = problem.facts(verdict.names[problem.node.id])
            told = InvalidGraph(f"{problem.sentence()}.", problems=[facts])
            yield Obstacle(told, parts.where(problem.node, problem.input_name or ""))


def refusal(error: ComfywardError | None) -> list[Obstacle]:
    """The obstacle that an error tells of, with the place that it names."""
    if error is None:
        return []
    details = error.details
    path, name = details.get("node_id"), details.get("class_type")
    title = details.get("title") or name
    where = (
        None if path is None else Where(str(path), str(title or ""), str(name or ""), str(details.get("input") or ""))
    )
    return [Obstacle(error, where)]


def by_urgency(models: Iterable[NeededModel]) -> list[NeededModel]:
    """The models that are missing first: their origins are asked first."""
    return sorted(models, key=lambda model: model.is_here)


def _lacks(name: str, classes: Iterable[str], catalog: Catalog | None) -> Lacks:
    if catalog is None:
        return Lacks(name, (), is_known=False)
    return Lacks(name, tuple(sorted(catalog.lacking(classes))))


def _lacked_classes(
    missing: Iterable[MissingClass], offers: Mapping[str, Sequence[Offer]], lacks: Iterable[Lacks]
) -> tuple[LackedClass, ...]:
    """The missing classes, each with what has it: offers, and other environments."""
    lacking = {each.environment: set(each.classes) for each in lacks if each.is_known}

    def having(name: str) -> tuple[str, ...]:
        return tuple(sorted(environment for environment, classes in lacking.items() if name not in classes))

    return tuple(
        LackedClass(each.name, each.where, tuple(offers.get(each.name, ())), having(each.name), each.why)
        for each in missing
    )


def _size_of(model: NeededModel, own: Fitted) -> int | None:
    match own.brought.get(model.path or ""):
        case Stored(_, size):
            return size
        case _:
            return None


async def _nothing() -> Mapping[str, tuple[()]]:
    return {}


def _rows(conn: Connection, account_id: str, paths: set[str], now: int) -> tuple[dict[str, str], dict[str, int]]:
    """(imports under way by path, memory by pool)."""
    return imports.waiting_at(conn, account_id, paths), workers.memory_of_pools(conn, now - POOLS_KNOWN_MS)
