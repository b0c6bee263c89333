"""The models of an account as a library: shown with all that is known of them, described, shared, deleted, restored."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.model_headers import ModelHeaders
from comfyward.dispatch.model_list import (
    ABOUT,
    NO_USE,
    Model,
    ModelFilter,
    ModelPage,
    Said,
    duplicates,
    is_model,
    page_of,
    pictures_beside,
    public_address,
)
from comfyward.dispatch.model_removal import Broken, remove, restore
from comfyward.dispatch.quotas import Quotas
from comfyward.errors import ComfywardError, Conflict, Forbidden, ModelInUse, NotFound
from comfyward.paths import MODELS_ROOT, model_at
from comfyward.runs.files import content_type_of
from comfyward.store import files, models, shared_files, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.deleted_models import DeletedModel
from comfyward.store.files import StoredFile
from comfyward.store.models import ModelUse, Place
from comfyward.store.shared_files import SharedFile
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.model_facts import ModelFacts
from comfyward.workflows.model_names import names_of


@dataclass(frozen=True)
class ModelDetail:
    """A model, the account's workflows that name it, how many of others do, and its hosts (both for admins)."""

    model: Model
    broken: Broken
    hosts: Sequence[str] | None


@dataclass(frozen=True)
class Cache:
    """The cache of a worker's host, in bytes."""

    host: str
    used: int
    limit: int


@dataclass(frozen=True)
class _Shelf:
    """All rows that tell of an account's models. Files are by path."""

    own: Mapping[str, StoredFile]
    links: Mapping[str, Mapping[str, Any]]
    shared: Mapping[str, SharedFile]
    uses: Mapping[Place, ModelUse]
    uses_of_shared: Mapping[Place, ModelUse]
    namings: Mapping[str, int]

    def picture(self, path: str) -> str:
        return next((each for each in pictures_beside(path) if each in self.own or each in self.shared), "")

    def workflow_count(self, path: str) -> int:
        return max((self.namings.get(name, 0) for name in names_of(path)), default=0)

    def shared_use(self, path: str, digest: str) -> ModelUse:
        found = self.uses_of_shared if self.uses_of_shared else self.uses
        return found.get((path, digest), NO_USE)


class Library:
    def __init__(
        self, db: Database, bindings: Bindings, inventory: Inventory, headers: ModelHeaders, quotas: Quotas
    ) -> None:
        self._db, self._bindings, self._inventory = db, bindings, inventory
        self._headers, self._quotas = headers, quotas

    async def page(self, account: Account, which: ModelFilter, after: tuple[int, str] | None, limit: int) -> ModelPage:
        """The models of an account that a filter selects."""
        found, unread = await self._models(account)
        return dataclasses.replace(await asyncio.to_thread(page_of, found, which, after, limit), unread=unread)

    async def get(self, account: Account, path: str) -> Model:
        """One model. Raises NotFound."""
        found, _ = await self._models(account, path)
        return _one(found, path)

    async def detail(self, account: Account, path: str) -> ModelDetail:
        """Raises NotFound."""
        model = await self.get(account, path)
        broken = await self._db.read(_broken, account, model)
        hosts = await self._hosts(account, model) if account.is_admin else None
        return ModelDetail(model, broken, hosts)

    async def describe(self, account: Account, path: str, said: Mapping[str, Any]) -> Model:
        """Changes what is said of a model; None lets the file's own word count again.

        Raises NotFound, Forbidden for what another one shares, Conflict for what is no file.
        """
        _check_may_change(account, await self.get(account, path))
        await self._db.write(_describe, account, path, said)
        return await self.get(account, path)

    async def share(self, account: Account, path: str, *, is_shared: bool) -> Model:
        """Shares a model of an admin with all accounts, or ends that. Raises NotFound, Forbidden, Conflict."""
        if not account.is_admin:
            raise Forbidden("Only admins share models.")
        _check_may_change(account, await self.get(account, path))
        await self._db.write(_share if is_shared else _withdraw, account, path, now_ms())
        return await self.get(account, path)

    async def remove(self, account: Account, path: str, *, confirmed: bool) -> DeletedModel:
        """Deletes a model; for a day that can be undone, unless later ones keep as much as the account may store.

        Raises ModelInUse for one that workflows name, unless that is confirmed; NotFound, Forbidden, Conflict.
        """
        detail = await self.detail(account, path)
        _check_may_change(account, detail.model, links=True)
        if detail.broken and not confirmed:
            raise _in_use(path, detail.broken)
        return await self._db.write(remove, account, path, self._quotas.of(account).models, now_ms())

    async def restore(self, account: Account, deleted_id: str) -> str:
        """Undoes a deletion and returns the model's path. Raises NotFound, Conflict, OverQuota."""
        room = await self._quotas.room(account.id, MODELS_ROOT)
        return await self._db.write(restore, account, deleted_id, room.most, now_ms())

    async def caches(self) -> list[Cache]:
        """The caches of the hosts of present workers."""
        present = await self._db.read(workers.find, now_ms() - workers.PRESENT_MS)
        by_host = {each.host: each.vitals for each in present if each.vitals}
        return [
            Cache(host, int(vitals.get("cache_bytes") or 0), int(vitals.get("cache_limit_bytes") or 0))
            for host, vitals in sorted(by_host.items())
        ]

    async def _models(self, account: Account, only: str | None = None) -> tuple[list[Model], int]:
        """(models, the number of those whose headers were not read yet): all of an account, or what is at a path."""
        shelf = await self._db.read(_shelf, account)
        catalog = await self._bindings.catalog_lately() or Catalog()
        wanted: Callable[[str], bool] = (lambda path: True) if only is None else (lambda path: path == only)
        found = await asyncio.to_thread(_found, shelf, account, catalog, wanted)  # there may be a hundred thousand
        known = await self._headers.facts(account.id, _files_of(found))
        return await asyncio.to_thread(_with_facts, found, known.by_digest), known.unread

    async def _hosts(self, account: Account, model: Model) -> list[str]:
        """The hosts of present workers that have a model, or had it for a run."""
        if model.origin != "workers":
            owner = None if model.is_shared else account.id
            return await self._db.read(models.hosts, owner, model.path, model.digest)
        _, by_pool = await self._inventory.look()
        present = await self._db.read(workers.find, now_ms() - workers.PRESENT_MS)
        having = [each for each in present if (found := by_pool.of(each.pool)) and model.path in found.model_paths]
        return sorted({each.host for each in having})


def _shelf(conn: Connection, account: Account) -> _Shelf:
    own = {file.path: file for file in files.find(conn, account.id, MODELS_ROOT)}
    return _Shelf(
        own,
        {path: link for path, link in files.links(conn, account.id).items() if path.startswith(MODELS_ROOT)},
        {file.path: file for file in shared_files.find(conn)},
        models.uses(conn, account.id),
        models.uses_of_shared(conn) if account.is_admin else {},
        models.counts_of_namings(conn, account.id),
    )


def _linked(shelf: _Shelf, wanted: Callable[[str], bool]) -> list[Model]:
    return [
        Model(
            path,
            "link",
            said=Said(source=public_address(str(link.get("url", "")))),
            picture=shelf.picture(path),
            use=shelf.uses.get((path, ""), NO_USE),
            workflow_count=shelf.workflow_count(path),
        )
        for path, link in shelf.links.items()
        if wanted(path) and is_model(path, content_type_of(path))
    ]


def _stored(shelf: _Shelf, account: Account, wanted: Callable[[str], bool]) -> list[Model]:
    """The account's own files, and what is shared; a link at the same path, which is newer, stands for itself."""
    found: list[Model] = []
    each: list[tuple[str, StoredFile | SharedFile]] = [*shelf.own.items(), *shelf.shared.items()]
    for path, file in each:
        if not wanted(path) or path in shelf.links or not is_model(path, file.content_type):
            continue
        shared = shelf.shared.get(path)
        is_shared = shared is not None and shared.digest == file.digest
        use = shelf.uses.get((path, file.digest), NO_USE)
        found.append(
            Model(
                path,
                "own" if path in shelf.own else "shared",
                file.digest,
                file.size,
                file.named_at if isinstance(file, StoredFile) else file.shared_at,
                is_shared=is_shared,
                said=Said.of(file.about),
                picture=shelf.picture(path),
                use=shelf.shared_use(path, file.digest) if is_shared and account.is_admin else use,
                workflow_count=shelf.workflow_count(path),
            )
        )
    return found


def _on_workers(shelf: _Shelf, catalog: Catalog, wanted: Callable[[str], bool]) -> list[Model]:
    return [
        Model(
            path,
            "workers",
            picture=shelf.picture(path),
            use=shelf.uses.get((path, ""), NO_USE),
            workflow_count=shelf.workflow_count(path),
        )
        for path in catalog.model_paths
        if wanted(path)
    ]


def _files_of(found: Sequence[Model] | Any) -> list[StoredFile]:
    return [files.new_file("", model.path, model.digest, model.size or 0, "", 0) for model in found if model.digest]


def _one(found: Sequence[Model], path: str) -> Model:
    for model in found:
        if model.path == path:
            return model
    raise NotFound(
        f"There is no model '{model_at(path)}'.",
        hint="'comfyward models list' and GET /api/v1/models/library list all.",
    )


def _found(shelf: _Shelf, account: Account, catalog: Catalog, wanted: Callable[[str], bool]) -> list[Model]:
    """The models at their paths: the first one that a run would find counts."""
    found = [*_stored(shelf, account, wanted), *_linked(shelf, wanted), *_on_workers(shelf, catalog, wanted)]
    return list({model.path: model for model in reversed(found)}.values())


def _with_facts(found: Sequence[Model], by_digest: Mapping[str, ModelFacts]) -> list[Model]:
    doubles = duplicates((model.path, model.digest) for model in found)
    return [
        dataclasses.replace(
            model,
            facts=by_digest.get(model.digest, model.facts),
            duplicates=tuple(path for path in doubles.get(model.digest, ()) if path != model.path),
        )
        for model in found
    ]


def may_change(account: Account, model: Model, *, links: bool = False) -> bool:
    """True if an account may change a model, or (`links`) delete it."""
    try:
        _check_may_change(account, model, links=links)
    except ComfywardError:
        return False
    return True


def _check_may_change(account: Account, model: Model, *, links: bool = False) -> None:
    """Raises Forbidden, Conflict."""
    if model.origin == "workers":
        raise Conflict("The model lies in the operator's own folders.", hint="Change it on the hosts of workers.")
    if model.origin == "link" and not links:
        raise Conflict("The model is only known by its URL.", hint="Import it first: POST /api/v1/imports.")
    if model.origin == "shared" and not account.is_admin:
        raise Forbidden("The model is shared by an admin, and only admins change it.")


def _broken(conn: Connection, account: Account, model: Model) -> Broken:
    others = models.count_of_others(conn, account.id, model.path) if model.is_shared and account.is_admin else 0
    return Broken(tuple(models.namings(conn, account.id, model.path)), others)


def _in_use(path: str, broken: Broken) -> ModelInUse:
    named = ", ".join(f"'{each.name}'" for each in broken.workflows[:5])
    more = len(broken.workflows) - 5
    text = named + (f" and {more} more" if more > 0 else "")
    others = f"{broken.others} of other accounts" if broken.others else ""
    return ModelInUse(
        f"Workflows name this model: {' and '.join(filter(None, (text, others)))}.",
        path=path,
        workflows=[{"id": each.id, "name": each.name} for each in broken.workflows],
        other_workflows=broken.others,
    )


def _describe(conn: Connection, account: Account, path: str, said: Mapping[str, Any]) -> None:
    own = next(iter(files.at(conn, account.id, [path])), None)
    if own is not None:
        files.set_about(conn, own.id, _said(own.about, said))
    shared = shared_files.at(conn, path) if account.is_admin else None
    if shared is not None and (own is None or own.digest == shared.digest):
        shared_files.describe(conn, path, _said(shared.about, said))


def _said(about: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    before = about.get(ABOUT)
    after = {**(before if isinstance(before, dict) else {}), **said}
    return {**about, ABOUT: {name: value for name, value in after.items() if value is not None}}


def _share(conn: Connection, account: Account, path: str, now: int) -> None:
    """Shares the account's file at a path with the pictures beside it. What is shared already stays so."""
    for each in files.at(conn, account.id, [path, *pictures_beside(path)]):
        known = {name: value for name, value in each.about.items() if name == ABOUT}
        file = SharedFile(each.path, each.digest, each.size, each.content_type, account.id, now, known)
        shared_files.share(conn, file)


def _withdraw(conn: Connection, account: Account, path: str, now: int) -> None:
    """Ends the sharing of a file and of the pictures beside it; the admin keeps what had no other owner."""
    for each in shared_files.named(conn, [path, *pictures_beside(path)]):
        shared_files.withdraw(conn, each.path)
        if not files.at(conn, account.id, [each.path]):
            file = files.new_file(account.id, each.path, each.digest, each.size, each.content_type, now)
            files.put(conn, dataclasses.replace(file, about=each.about))
