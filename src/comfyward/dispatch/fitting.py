"""Fits a graph to what its pool offers: resolves its references, finds its files, and checks its inputs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.errors import InvalidRequest, NotFound
from comfyward.runs.files import Source, Stored
from comfyward.store import files, runs, usable_files
from comfyward.store.db import Database
from comfyward.store.files import file_path_of
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import Graph
from comfyward.workflows.listing import Paths
from comfyward.workflows.needs import PlacesNamed, models_among, places_named
from comfyward.workflows.references import (
    AssetReference,
    Named,
    Reference,
    Resolved,
    ResultReference,
    references,
    resolve,
)
from comfyward.workflows.separators import with_slashes
from comfyward.workflows.validation import check

MAX_OWN_FILES = 5000  # that come with a run because its graph names them


@dataclass(frozen=True)
class Fitted:
    """A graph that fits a catalog, the files of its run, the packs of its nodes, and the paths of its models."""

    graph: Graph
    brought: Mapping[str, Source]
    packs: dict[str, str]
    models: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Submitted:
    """A graph of an account, its size in bytes, the files that come with it, and the targets of its references."""

    account_id: str
    graph: Graph
    size: int
    files: Mapping[str, Source]
    targets: Mapping[Reference, Named] | None


class Fitting:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def fit(
        self,
        account_id: str,
        graph: Graph,
        size: int,
        brought: Mapping[str, Source],
        catalogs: Sequence[Catalog | None],
    ) -> Fitted:
        """The graph as the first of some catalogs takes it; None takes any.

        Raises InvalidRequest, the first one's, if no catalog takes it.
        """
        submitted = _Submitted(account_id, graph, size, brought, await self._targets(account_id, graph, size))
        refused: list[InvalidRequest] = []
        for catalog in catalogs:
            try:
                return await self._fit_to(catalog, submitted)
            except InvalidRequest as error:  # another worker of the pool may have what this one lacks
                refused.append(error)
        raise refused[0]

    async def bring(self, account_id: str, graph: Graph, size: int, catalog: Catalog | None) -> Fitted:
        """The graph without references, with the account's files that it names. Nothing is checked.

        Raises MissingAsset.
        """
        targets = await self._targets(account_id, graph, size)
        return await self._brought(catalog, _Submitted(account_id, graph, size, {}, targets))

    async def _targets(self, account_id: str, graph: Graph, size: int) -> Mapping[Reference, Named] | None:
        found = await HEAVY.run(account_id, size, lambda: references(graph))
        return await self._db.lookup(_named, account_id, found) if found else None

    async def _fit_to(self, catalog: Catalog | None, submitted: _Submitted) -> Fitted:
        fitted = await self._brought(catalog, submitted)
        paths = Paths(fitted.brought)
        graph = await HEAVY.run(submitted.account_id, submitted.size, lambda: _valid(fitted.graph, catalog, paths))
        return replace(fitted, graph=graph)

    async def _brought(self, catalog: Catalog | None, submitted: _Submitted) -> Fitted:
        account_id, targets = submitted.account_id, submitted.targets
        aside = functools.partial(HEAVY.run, account_id, submitted.size)
        resolved, named = await aside(lambda: _resolved(submitted.graph, targets, catalog))
        paths = named.paths - set(resolved.files) - set(submitted.files)
        is_any = bool(paths or named.folders)
        own = await self._db.lookup(_own_files, account_id, paths, named.folders) if is_any else {}
        brought = own | {path: Stored(file.digest, file.size) for path, file in resolved.files.items()}
        brought |= submitted.files
        models = models_among(named, brought, catalog)
        return Fitted(resolved.graph, brought, catalog.packs if catalog else {}, models)


def _resolved(
    graph: Graph, targets: Mapping[Reference, Named] | None, catalog: Catalog | None
) -> tuple[Resolved, PlacesNamed]:
    """The graph of classes that the catalog has, without references, and the places of files that it names."""
    graph = graph if catalog is None else catalog.with_replacements(graph)
    resolved = Resolved(graph, {}) if targets is None else resolve(graph, targets, catalog)
    return resolved, places_named(resolved.graph, catalog)


def _valid(graph: Graph, catalog: Catalog | None, paths: Paths) -> Graph:
    """The graph with the separators of file names that ComfyUI knows. Raises InvalidGraph."""
    graph = with_slashes(graph, catalog, paths)
    if catalog is not None:
        check(graph, catalog, paths).raise_if_any()
    return graph


def _own_files(conn: Connection, account_id: str, named: set[str], folders: set[str]) -> dict[str, Source]:
    """The files that the account can use at the paths and in the folders that a graph names. Raises InvalidRequest."""
    own = usable_files.named(conn, account_id, named, folders)
    if len(own) > MAX_OWN_FILES:
        message = f"The graph names folders with {len(own)} of your files; a run can have at most {MAX_OWN_FILES}."
        raise InvalidRequest(message, hint="Name folders with fewer files.")
    return own


def _named(conn: Connection, account_id: str, found: set[Reference]) -> dict[Reference, Named]:
    """The targets of references, among the account's own assets and outputs."""
    named = {}
    for reference in found:
        try:
            named[reference] = _one_named(conn, account_id, reference)
        except NotFound:
            continue
    return named


def _one_named(conn: Connection, account_id: str, reference: Reference) -> Named:
    match reference:
        case AssetReference(asset_id):
            file = files.by_id(conn, account_id, asset_id)
            return Named(file.digest, file.size, file_path_of(file))
        case ResultReference(path, kind):
            result = runs.file(conn, account_id, kind, path)
            # In a folder of its own, apart from the caller's file of that name.
            folder = "" if result.is_of_run else f"{result.digest[:12]}/"
            return Named(result.digest, result.size, f"{folder}{path}")
