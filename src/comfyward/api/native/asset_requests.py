"""Requests to ComfyUI's assets, checked as ComfyUI checks them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from starlette.datastructures import FormData, QueryParams
from starlette.requests import Request

from comfyward.api.body import python_json, read_body
from comfyward.api.native.asset_errors import AssetError
from comfyward.api.whole_numbers import whole_number
from comfyward.errors import NotFound
from comfyward.ids import is_digest
from comfyward.python_json import NOT_JSON, read_request
from comfyward.store.assets import AssetFilter, Sort

MAX_NAME = 512
MAX_TAGS = 200


@dataclass(frozen=True)
class AssetPage:
    """A page of a list."""

    which: AssetFilter
    sort: Sort
    descending: bool
    limit: int
    offset: int
    after: str | None


@dataclass(frozen=True)
class Description:
    """A change of an asset's description: None and absent parts stay as they are."""

    name: str | None
    about: Mapping[str, Any]


@dataclass(frozen=True)
class AssetSpec:
    tags: tuple[str, ...]
    name: str
    digest: str | None
    mime_type: str | None
    about: Mapping[str, Any] = field(default_factory=dict)
    filename: str = ""

    @classmethod
    def of_json(cls, body: Mapping[str, Any]) -> AssetSpec:
        """Raises AssetError."""
        digest = digest_of(body.get("hash"), "INVALID_BODY")
        name = _name(body.get("name")) or digest
        about = _about(body.get("user_metadata"), body.get("preview_id"))
        return cls(_tags([body.get("tags")]), name, digest, _text(body.get("mime_type")), about, name)


def page_of(request: Request, default: int = 20, most: int = 500) -> AssetPage:
    """Raises AssetError."""
    query = request.query_params
    sort = (query.get("sort") or "created_at").lower()
    order = (query.get("order") or "desc").lower()
    if sort not in get_args(Sort) or order not in ("asc", "desc"):
        raise AssetError("INVALID_QUERY", "'sort' or 'order' is not one of the known ones.")
    after = query.get("after") or None
    if after is not None and sort == "last_access_time":
        raise AssetError("INVALID_CURSOR", "A cursor cannot be used with sort=last_access_time.")
    which = AssetFilter(
        include=frozenset(_tags(query.getlist("include_tags"))),
        exclude=frozenset(_tags(query.getlist("exclude_tags"))),
        name_contains=query.get("name_contains") or "",
        about=_object(query.get("metadata_filter"), "metadata_filter", "INVALID_QUERY"),
    )
    limit, offset = number_in(query, "limit", default, 1, most), number_in(query, "offset", 0, 0, 1 << 31)
    return AssetPage(which, sort, order == "desc", limit, offset, after)  # type: ignore[arg-type]


def new_asset_of(form: FormData) -> AssetSpec:
    """Raises AssetError."""
    sent = form.get("hash")
    digest = digest_of(sent, "INVALID_BODY") if isinstance(sent, str) and sent.strip() else None
    about = _about(form.get("user_metadata"), form.get("preview_id"))
    tags = _tags([each for each in form.getlist("tags") if isinstance(each, str)])
    return AssetSpec(tags, _name(form.get("name")), digest, _text(form.get("mime_type")), about)


def description_of(body: Mapping[str, Any]) -> Description:
    """Raises AssetError."""
    wanted = {name: body[name] for name in ("name", "user_metadata", "preview_id") if body.get(name) is not None}
    if not wanted:
        raise AssetError("INVALID_BODY", "Provide at least one of: name, user_metadata, preview_id.")
    return Description(_name(wanted.get("name")) or None, _about(wanted.get("user_metadata"), wanted.get("preview_id")))


def tags_in(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Raises AssetError."""
    tags = body.get("tags")
    if not isinstance(tags, list) or not tags or not all(isinstance(each, str) for each in tags):
        raise AssetError("INVALID_BODY", "'tags' must be a list of strings.")
    return tuple(dict.fromkeys(each.strip() for each in tags if each.strip()))[:MAX_TAGS]


def asset_id(request: Request) -> str:
    """Raises NotFound for a text that is no id."""
    text = request.path_params["id"]
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise NotFound(f"AssetReference {text[:100]} not found") from error


def digest_of(text: object, code: str = "INVALID_HASH") -> str:
    """Raises AssetError."""
    kind, _, digest = str(text or "").strip().lower().partition(":")
    if kind != "blake3" or not is_digest(digest):
        raise AssetError(code, "hash must be like 'blake3:<hex>'")
    return digest


async def read_object(request: Request, limit_bytes: int) -> dict[str, Any]:
    """Raises AssetError, TooLarge."""
    try:
        body = await python_json(request, await read_body(request, limit_bytes))
    except NOT_JSON as error:
        raise AssetError("INVALID_JSON", "Request body must be valid JSON.") from error
    if not isinstance(body, dict):
        raise AssetError("INVALID_JSON", "Request body must be a JSON object.")
    return body


def number_in(query: QueryParams, name: str, default: int, least: int, most: int) -> int:
    """Raises AssetError."""
    number = whole_number(query.get(name) or str(default), least=least, most=most)
    if number is None:
        raise AssetError("INVALID_QUERY", f"'{name}' must be {least} to {most}.")
    return number


def _tags(sent: Sequence[Any]) -> tuple[str, ...]:
    """Lists, JSON lists and lists with commas, in any mixture."""
    found: list[str] = []
    for each in sent:
        if isinstance(each, list):
            found += [str(tag) for tag in each]
        elif isinstance(each, str) and each.strip().startswith("["):
            found += [str(tag) for tag in _json(each, "tags", "INVALID_BODY", list)]
        elif isinstance(each, str):
            found += each.split(",")
    return tuple(dict.fromkeys(tag.strip() for tag in found if tag.strip()))[:MAX_TAGS]


def _about(user_metadata: Any, preview_id: Any) -> dict[str, Any]:
    about: dict[str, Any] = {}
    if metadata := _object(user_metadata, "user_metadata", "INVALID_BODY"):
        about["user_metadata"] = metadata
    if preview := _text(preview_id):
        about["preview_id"] = preview
    return about


def _object(value: Any, name: str, code: str) -> dict[str, Any]:
    if isinstance(value, dict) or not value:
        return value or {}
    return dict(_json(value, name, code, dict))


def _json(value: Any, name: str, code: str, kind: type[Any]) -> Any:
    try:
        found = read_request(str(value))
    except NOT_JSON as error:
        raise AssetError(code, f"{name} must be JSON.") from error
    if not isinstance(found, kind):
        raise AssetError(code, f"{name} must be JSON of the right kind.")
    return found


def _name(value: Any) -> str:
    name = _text(value) or ""
    if len(name) > MAX_NAME:
        raise AssetError("INVALID_BODY", f"'name' must have at most {MAX_NAME} characters.")
    return name


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
