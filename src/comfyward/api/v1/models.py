"""Models in v1: what an account can use, with all that is known of each; described, shared, deleted, restored."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.accounts.account import Account
from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.contents import SAFE
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.model_pictures import WEBP, ModelPictures
from comfyward.api.paging import InvalidCursor, cursor_of, place_of
from comfyward.api.query import read_query
from comfyward.api.times import iso
from comfyward.dispatch.library import Library, ModelDetail
from comfyward.dispatch.model_list import Model, ModelFilter, Origin, Sort
from comfyward.dispatch.quotas import Quotas
from comfyward.errors import InvalidRequest
from comfyward.paths import model_at, model_path
from comfyward.runs.files import parse_path
from comfyward.store.db import now_ms
from comfyward.workflows.model_facts import words_in

BODY_LIMIT_BYTES = 64 << 10
MAX_SHOWN = 200
ONE = "/models/{folder}/{name:path}"


class LibraryQuery(BaseModel):
    q: str = Field("", max_length=200, description="Words in name, title, architecture, trigger words or source.")
    folder: str = Field("", max_length=200, description="Only models of this folder, e.g. loras.")
    architecture: str = Field("", max_length=100, description="Only models of this base architecture, e.g. SDXL.")
    origin: Origin | None = Field(None, description="own, link (by URL of a run), shared, or workers.")
    unused_days: int | None = Field(None, ge=1, le=36500, description="Not named by a run, nor added, for so long.")
    duplicates: bool = Field(False, description="Only models whose bytes have several names.")
    sort: Sort = Field("name", description="name, size, used or added; all but name are largest or newest first.")
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = Field(None, description="The `next_cursor` of the page before.")

    def after(self) -> tuple[int, str] | None:
        """The place after which the page begins. Raises InvalidRequest."""
        try:
            return None if self.cursor is None else place_of(self.cursor, int, str)
        except InvalidCursor as error:
            raise InvalidRequest("Invalid cursor.", hint="Use the next_cursor of a list.") from error

    def filter(self) -> ModelFilter:
        return ModelFilter(
            self.q, self.folder, self.architecture, self.origin, self.unused_days, self.duplicates, self.sort, now_ms()
        )


class RunsAndWorkflows(BaseModel):
    runs: int = Field(description="Those that were deleted since included.")
    workflows: int
    last_used_at: datetime | None


class LibraryModel(BaseModel):
    """A model. What is not known is null or empty."""

    path: str
    folder: str
    name: str = Field(description="As graphs write it: relative to its folder.")
    origin: Origin
    shared: bool = Field(description="True if an admin shares it with all accounts.")
    size: int | None
    digest: str | None
    added_at: datetime | None
    title: str
    architecture: str
    trigger_words: list[str]
    licence: str
    source: str
    preview_url: str | None
    used_by: RunsAndWorkflows
    duplicates: list[str] = Field(description="Other paths of the same bytes.")


class ModelStorage(BaseModel):
    """In bytes; `limit` is null without one. Bytes that have several names count once."""

    used: int
    limit: int | None


class HostCache(BaseModel):
    host: str
    used: int
    limit: int


class LibraryPage(BaseModel):
    models: list[LibraryModel]
    total: int
    total_size: int
    next_cursor: str | None
    unread: int = Field(description="Files whose headers were not read yet: ask again for what they tell.")
    folders: dict[str, int]
    architectures: dict[str, int]
    storage: ModelStorage
    caches: list[HostCache] | None = Field(description="Of the hosts of workers; null but for admins.")


class NamingWorkflow(BaseModel):
    id: str
    name: str


class DetailedModel(LibraryModel):
    workflows: list[NamingWorkflow] = Field(description="Your workflows that name it.")
    other_workflows: int = Field(description="How many of other accounts do, of a shared one; for admins.")
    hosts: list[str] | None = Field(description="Hosts that have it, or had it for a run; null but for admins.")


class ModelChange(leniency.Request):
    """Changes of a model; null lets the file's own word count again."""

    title: str | None = Field(None, max_length=200)
    architecture: str | None = Field(None, max_length=100)
    trigger_words: list[str] | None = Field(None, max_length=20)
    licence: str | None = Field(None, max_length=200)
    source: str | None = Field(None, max_length=2000)
    shared: bool = Field(False, description="Share it with all accounts, or end that (admins).")


class RemovalQuery(BaseModel):
    confirm: bool = Field(False, description="Delete it although workflows name it.")


class ModelRemoval(BaseModel):
    """`id` undoes it for a day: POST /models/restore."""

    id: str
    path: str
    until: datetime


class ModelRestoration(leniency.Request):
    id: str


class RestoredModel(BaseModel):
    path: str


class LibraryModels:
    def __init__(self, auth: Auth, library: Library, pictures: ModelPictures, quotas: Quotas) -> None:
        self._auth, self._library, self._pictures, self._quotas = auth, library, pictures, quotas

    def endpoints(self) -> list[Endpoint]:
        listed, one = Models(query=LibraryQuery, answer=LibraryPage), Models(answer=DetailedModel)
        changed = Models(body=ModelChange, answer=DetailedModel)
        removed = Models(
            query=RemovalQuery,
            answer=ModelRemoval,
            description="409 `model_in_use` lists the workflows that name it, unless `confirm` is true.",
        )
        restored = Models(body=ModelRestoration, answer=RestoredModel)
        return [
            Endpoint("GET", "/models/library", self.find, "Models, with all that is known of them", listed),
            Endpoint("POST", "/models/restore", self.restore, "Undo the deletion of a model", restored),
            Endpoint("GET", "/model-previews/{folder}/{name:path}", self.preview, "A picture", Models(answer=WEBP)),
            Endpoint("GET", ONE, self.get, "A model", one),
            Endpoint("PATCH", ONE, self.change, "Describe or share a model", changed),
            Endpoint("DELETE", ONE, self.delete, "Delete a model", removed),
        ]

    async def find(self, request: Request) -> Response:
        account = (await self._auth.caller(request)).account
        query = read_query(request, LibraryQuery)
        page = await self._library.page(account, query.filter(), query.after(), query.limit)
        shown = {
            "models": [model_json(model) for model in page.models],
            "total": page.total,
            "total_size": page.total_bytes,
            "next_cursor": None if page.next is None else cursor_of(*page.next),
            "unread": page.unread,
            "folders": page.folders,
            "architectures": page.architectures,
            "storage": await self._storage(account),
            "caches": await self._caches(account),
        }
        return answer(shown)

    async def get(self, request: Request) -> Response:
        account = (await self._auth.caller(request)).account
        return answer(_detail_json(await self._library.detail(account, _path(request))))

    async def change(self, request: Request) -> Response:
        account, path = (await self._auth.caller(request)).account, _path(request)
        change = await read_json(request, ModelChange, BODY_LIMIT_BYTES)
        said: dict[str, Any] = change.model_dump(include=change.model_fields_set - {"shared"})
        if (words := said.get("trigger_words")) is not None:
            said["trigger_words"] = list(words_in(",".join(words)))
        if said:
            await self._library.describe(account, path, said)
        if "shared" in change.model_fields_set:
            await self._library.share(account, path, is_shared=change.shared)
        return answer(_detail_json(await self._library.detail(account, path)))

    async def delete(self, request: Request) -> Response:
        account = (await self._auth.caller(request)).account
        confirmed = read_query(request, RemovalQuery).confirm
        deleted = await self._library.remove(account, _path(request), confirmed=confirmed)
        return answer({"id": deleted.id, "path": deleted.path, "until": iso(deleted.until)})

    async def restore(self, request: Request) -> Response:
        account = (await self._auth.caller(request)).account
        body = await read_json(request, ModelRestoration, BODY_LIMIT_BYTES)
        return answer({"path": await self._library.restore(account, body.id)})

    async def preview(self, request: Request) -> Response:
        account = (await self._auth.caller(request)).account
        picture = await self._pictures.picture(account.id, _path(request))
        return Response(picture, media_type=WEBP, headers={"Cache-Control": "private, no-cache", **SAFE})

    async def _storage(self, account: Account) -> dict[str, Any]:
        used = await self._quotas.stored(account.id)
        return {"used": used.models, "limit": self._quotas.of(account).models or None}

    async def _caches(self, account: Account) -> list[dict[str, Any]] | None:
        if not account.is_admin:
            return None
        return [{"host": each.host, "used": each.used, "limit": each.limit} for each in await self._library.caches()]


def model_json(model: Model) -> dict[str, Any]:
    return {
        "path": model.path,
        "folder": model.folder,
        "name": model.name,
        "origin": model.origin,
        "shared": model.is_shared,
        "size": model.size,
        "digest": f"blake3:{model.digest}" if model.digest else None,
        "added_at": iso(model.added_at),
        "title": model.title,
        "architecture": model.architecture,
        "trigger_words": list(model.trigger_words),
        "licence": model.licence,
        "source": model.source,
        "preview_url": preview_url(model),
        "used_by": {
            "runs": model.use.run_count,
            "workflows": model.workflow_count,
            "last_used_at": iso(model.use.last_used_at),
        },
        "duplicates": list(model.duplicates),
    }


def preview_url(model: Model) -> str | None:
    """The address of a model's picture; None if it has none."""
    return f"/api/v1/model-previews/{quote(model_at(model.path))}" if model.has_preview else None


def _detail_json(detail: ModelDetail) -> dict[str, Any]:
    return {
        **model_json(detail.model),
        "workflows": [{"id": each.id, "name": each.name} for each in detail.broken.workflows],
        "other_workflows": detail.broken.others,
        "hosts": None if detail.hosts is None else list(detail.hosts),
    }


def _path(request: Request) -> str:
    """Raises InvalidPath."""
    return parse_path(model_path(f"{request.path_params['folder']}/{request.path_params['name']}"))
