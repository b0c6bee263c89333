"""The models of an account: search, pages of one, and what is said of it, its sharing and its deletion."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from comfyward.api.paging import InvalidCursor, cursor_of, place_of
from comfyward.api.v1.models import preview_url
from comfyward.dispatch.library import Library, may_change
from comfyward.dispatch.model_list import ORIGINS, SORTS, ModelFilter
from comfyward.dispatch.quotas import Quotas
from comfyward.ids import is_id
from comfyward.paths import model_at, model_path
from comfyward.runs.files import parse_path
from comfyward.store.db import now_ms
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.workflows.model_facts import words_in

PAGE_SIZE = 48
LONG_UNUSED_DAYS = 90
SAID = ("title", "architecture", "licence", "source")


class ModelPages:
    def __init__(self, library: Library, quotas: Quotas) -> None:
        self._library, self._quotas = library, quotas

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/models", self.list_all, "All models of the account"),
            Page("POST", "/models/describe", self.describe, "Change what is said of a model"),
            Page("POST", "/models/share", self.share, "Share a model with all accounts, or end that"),
            Page("POST", "/models/delete", self.delete, "Delete a model"),
            Page("POST", "/models/restore", self.restore, "Undo the deletion of a model"),
            Page("GET", "/models/{folder}/{name:path}", self.show, "A model, and what uses it"),
        ]

    async def list_all(self, request: PageRequest) -> Response:
        which, account = _filter_of(request), request.account
        page = await self._library.page(account, which, _after(request), PAGE_SIZE)
        values: dict[str, Any] = {
            "page": page,
            "which": which,
            "preview_url": preview_url,
            "next_cursor": None if page.next is None else cursor_of(*page.next),
            "is_first": _after(request) is None,
            "query": {name: value for name, value in request.http.query_params.items() if value and name != "cursor"},
        }
        if request.is_partial:
            return request.render("models.part.html", **values)
        used = await self._quotas.stored(account.id)
        values |= {"used": used.models, "most": self._quotas.of(account).models, "long": LONG_UNUSED_DAYS}
        values["caches"] = await self._library.caches() if account.is_admin else []
        values["deleted"] = request.query("deleted") if is_id(request.query("deleted")) else None
        return request.render("models.html", **values)

    async def show(self, request: PageRequest) -> Response:
        path = parse_path(model_path(f"{request['folder']}/{request['name']}"))
        detail = await self._library.detail(request.account, path)
        return request.render(
            "model.html",
            model=detail.model,
            detail=detail,
            preview_url=preview_url(detail.model),
            may_change=may_change(request.account, detail.model),
            may_delete=may_change(request.account, detail.model, links=True),
        )

    async def describe(self, request: PageRequest) -> Response:
        form = await request.form()
        path = parse_path(form.get("path"))
        said: dict[str, Any] = {name: text_of(form, name, 2000) or None for name in SAID}
        said["trigger_words"] = list(words_in(text_of(form, "trigger_words", 2000, "trigger words"))) or None
        model = await self._library.get(request.account, path)
        own = {name: None if value == getattr(model.facts, name, None) else value for name, value in said.items()}
        if tuple(said["trigger_words"] or ()) == model.facts.trigger_words:
            own["trigger_words"] = None
        await self._library.describe(request.account, path, own)
        return request.redirect(_address(path))

    async def share(self, request: PageRequest) -> Response:
        form = await request.form()
        path = parse_path(form.get("path"))
        await self._library.share(request.account, path, is_shared=form.get("shared") == "1")
        return request.redirect(_address(path))

    async def delete(self, request: PageRequest) -> Response:
        """The page has said what would break, and its form has asked."""
        path = parse_path((await request.form()).get("path"))
        deleted = await self._library.remove(request.account, path, confirmed=True)
        return request.redirect(f"/models?deleted={deleted.id}")

    async def restore(self, request: PageRequest) -> Response:
        deleted_id = text_of(await request.form(), "id", 36)
        return request.redirect(_address(await self._library.restore(request.account, deleted_id)))


def _filter_of(request: PageRequest) -> ModelFilter:
    origin, sort = request.query("origin"), request.query("sort")
    return ModelFilter(
        words=request.query("q")[:200],
        folder=request.query("folder")[:200],
        architecture=request.query("architecture")[:100],
        origin=origin if origin in ORIGINS else None,
        unused_days=LONG_UNUSED_DAYS if request.query("unused") else None,
        duplicates=bool(request.query("duplicates")),
        sort=sort if sort in SORTS else "name",
        now=now_ms(),
    )


def _after(request: PageRequest) -> tuple[int, str] | None:
    """The place after which a page begins; an unknown one is the first."""
    try:
        number, path = place_of(request.query("cursor"), int, str)
    except InvalidCursor:
        return None
    return number, path


def _address(path: str) -> str:
    return f"/models/{quote(model_at(path))}"
