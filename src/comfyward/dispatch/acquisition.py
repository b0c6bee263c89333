"""Getting what a workflow lacks: models are imported, packs become an environment or a request, uploads are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import blake3
from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.accounts.storage import over
from comfyward.dispatch import drafts, errands
from comfyward.dispatch.errands import Errand, ErrandKind
from comfyward.dispatch.imports import Imports
from comfyward.dispatch.lockings import Lockings
from comfyward.dispatch.quotas import Quotas
from comfyward.environments.reference import Reference
from comfyward.environments.releases import VERSIONS
from comfyward.environments.wanted import Wanted, wanted_json
from comfyward.errors import ComfywardError, InvalidRequest
from comfyward.paths import MODELS_ROOT
from comfyward.runs.files import parse_import
from comfyward.store import files, pack_requests
from comfyward.store.db import Database, now_ms
from comfyward.store.lockings import LOCK, PROMOTE, TRY, Wish
from comfyward.workflows.check import Check, LackedClass, LackedModel
from comfyward.workflows.needed import NeededInput
from comfyward.workflows.offer import no_pack


@dataclass(frozen=True)
class GetOptions:
    """A caller's choices: `title` names a new environment, `into` is the one that gets a new revision.

    `urls` are addresses of models that the caller knows, by path. `promotes`: the new revision of an environment that
    is there becomes current; a new environment's first one always does.
    """

    title: str = "Workflow"
    into: str = ""
    urls: Mapping[str, str] = field(default_factory=dict)
    promotes: bool = False


@dataclass(frozen=True)
class NotGot:
    """Something that was not begun, with the reason and what to do."""

    what: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Got:
    """The errands that were begun, the files that the caller has to upload, and what is left."""

    check: Check
    errands: tuple[Errand, ...]
    uploads: tuple[NeededInput, ...]
    left: tuple[NotGot, ...]


class Acquisition:
    def __init__(self, db: Database, importer: Imports, lockings: Lockings, quotas: Quotas) -> None:
        self._db, self._importer, self._lockings, self._quotas = db, importer, lockings, quotas

    async def get(self, account: Account, check: Check, options: GetOptions) -> Got:
        """Begins to get what a check found missing; what is under way already is not begun twice.

        Raises InvalidRequest for an address of a model that is not wanted, OverQuota if all models together are more
        than the account may store, InvalidEnvironment, NotFound, or Conflict if the environment is being changed.
        """
        await self._check_urls(account, check, options.urls)
        await self._check_room(account, check)
        left: list[NotGot] = []
        ids = await self._packs(account, check, options, left)
        for model in check.models:
            ids += await self._model(account, model, options, left)
        begun = await self._db.read(_found, account, ids, now_ms())
        return Got(check, tuple(begun), check.inputs, tuple(left))

    async def _check_urls(self, account: Account, check: Check, urls: Mapping[str, str]) -> None:
        """Names that are here by now may be in it, too: the same request shows how far all of it is."""
        lacked = {model.need.path for model in check.models if model.need.path is not None}
        if not (others := urls.keys() - lacked):
            return
        usable = await self._db.read(files.usable_paths, account.id)
        for path in sorted(others):
            if path not in usable:
                missing = f"It lacks {', '.join(sorted(lacked))}." if lacked else "It lacks no model."
                raise InvalidRequest(f"The workflow wants no model '{path}'.", hint=missing)

    async def _check_room(self, account: Account, check: Check) -> None:
        coming = sum(model.facts.size or 0 for model in check.models if model.import_id is None)
        if not coming:
            return
        room = await self._quotas.room(account.id, MODELS_ROOT)
        if coming > room.left:
            raise over(room.kind, room.used, room.most, coming)

    async def _model(self, account: Account, model: LackedModel, options: GetOptions, left: list[NotGot]) -> list[str]:
        """The errand for a model, or none, and then why."""
        if model.import_id is not None:
            return [errands.id_of(ErrandKind.IMPORT, model.import_id)]
        found = _address_of(model, options)
        if isinstance(found, NotGot):
            left.append(found)
            return []
        path, url, sha256 = found
        try:
            path, wanted = parse_import(path, {"url": url, **({"digest": sha256} if sha256 else {})})
            import_id = await self._importer.add(account.id, path, wanted)
        except ComfywardError as error:
            left.append(NotGot(path, error.message, error.hint or ""))
            return []
        return [errands.id_of(ErrandKind.IMPORT, import_id)]

    async def _packs(self, account: Account, check: Check, options: GetOptions, left: list[NotGot]) -> list[str]:
        """The errand for what has the missing classes, or none, and then why."""
        left += [_unknown(each) for each in check.classes if not _can_be_got(each)]
        wanted = Wanted.of({each.name: each.offers for each in check.classes if _can_be_got(each)})
        if not wanted:
            return []
        if not account.is_admin:
            return [await self._request(account, wanted)]
        like = Reference.name_in(check.environment)
        name = await self._db.write(_drafted, wanted, options, like, now_ms())
        promotes = options.promotes or not options.into
        await self._lockings.begin(name, Wish(LOCK, next=PROMOTE if promotes else TRY))
        return [errands.id_of(ErrandKind.ENVIRONMENT, name)]

    async def _request(self, account: Account, wanted: Wanted) -> str:
        """Asks an admin; the same that waits is returned."""
        request_id = await self._db.write(_requested, account.id, wanted, now_ms())
        return errands.id_of(ErrandKind.REQUEST, request_id)


def _address_of(model: LackedModel, options: GetOptions) -> tuple[str, str, str | None] | NotGot:
    """(path, URL, SHA-256 if it is known) of a model, or why it cannot be fetched."""
    need, source = model.need, model.source
    url = options.urls.get(need.path or "") or (source.url if source is not None else None)
    if url is None:
        hint = "Upload it under Files, or give its address: --model-url of 'comfyward check', 'urls' of the API."
        return NotGot(need.path or need.name, f"No address is known for '{need.name}'.", hint)
    if need.path is None:
        return NotGot(need.name, f"The folder of '{need.name}' is not known.", "Upload it to its folder.")
    if model.facts.is_gated and need.path not in options.urls:
        return NotGot(need.path, model.facts.problem or "", model.facts.hint or "")
    return need.path, url, source.sha256 if source is not None and source.url == url else None


def _can_be_got(lacked: LackedClass) -> bool:
    """True if the best offer for a class is a pack that can be added, or a release that can be installed by version."""
    first = lacked.offers[0] if lacked.offers else None
    if first is None or first.comfyui is None:
        return first is not None and first.source is not None
    return any(Wanted(comfyui=first.comfyui).is_in(version) for version in VERSIONS)


def _unknown(lacked: LackedClass) -> NotGot:
    if lacked.offers and (versions := lacked.offers[0].comfyui):
        message = f"'{lacked.name}' needs ComfyUI {versions}, of which no release can be installed by version here."
        return NotGot(lacked.name, message, "Use an environment whose ComfyUI is a newer commit.")
    return NotGot(lacked.name, no_pack(f"the class '{lacked.name}'"), "Ask who made the workflow.")


def _drafted(conn: Connection, wanted: Wanted, options: GetOptions, like: str, now: int) -> str:
    return drafts.draft(conn, wanted, options.into, options.title, now, like=like, reuses=True)


def _requested(conn: Connection, account_id: str, wanted: Wanted, now: int) -> str:
    """Asks for what is wanted, once: a request has no workflow that is saved, so what it wants names it."""
    key = f"file-{blake3.blake3(repr(wanted).encode()).hexdigest()[:16]}"
    same = pack_requests.of_workflow(conn, account_id, key)
    if same is not None and same.state == pack_requests.WAITING:
        return same.id
    return pack_requests.ask(conn, account_id, key, wanted_json(wanted), wanted.comfyui, now)


def _found(conn: Connection, account: Account, ids: list[str], now: int) -> list[Errand]:
    return [errands.find(conn, account, each, now) for each in dict.fromkeys(ids)]
