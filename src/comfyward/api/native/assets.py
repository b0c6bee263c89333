"""ComfyUI's /api/assets and /api/tags, which it has with --enable-assets: the account's files, by tag and by hash.

(Source: ComfyUI's app/assets/api.) A new file lies where its tags say, under its digest: `input`, `output`, or `models`
with one `model_type:FOLDER`. There is nothing to scan: every file of the account is known.
"""

from __future__ import annotations

import datetime
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comfyward.api.body import answer, pieces_of, read_upload
from comfyward.api.contents import Content
from comfyward.api.context import Context
from comfyward.api.native.assets_requests import (
    AssetError,
    AssetPage,
    Description,
    NewAsset,
    asset_id,
    description_of,
    digest_of,
    new_asset_of,
    number_in,
    page_of,
    read_object,
    tags_in,
)
from comfyward.api.native.scope import Scope, Scopes
from comfyward.api.paging import InvalidCursor, cursor_of, place_of
from comfyward.errors import ComfywardError, DigestMismatch, InvalidPath, NotFound, TooLarge, Unauthenticated
from comfyward.runs.files import content_type_of, parse_path
from comfyward.store import assets, files
from comfyward.store.assets import MODEL_TYPE, ROLES, Asset
from comfyward.store.db import now_ms
from comfyward.store.files import StoredFile

MAX_SUFFIX = 16
Handler = Callable[[Request], Awaitable[Response]]


class Assets:
    def __init__(self, context: Context, scopes: Scopes) -> None:
        self._context, self._db, self._scopes = context, context.db, scopes

    def routes(self) -> list[Route]:
        """Below /api only: /assets holds the editor's own files."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/assets", self.find),
            ("POST", "/assets", self.upload),
            ("POST", "/assets/from-hash", self.from_hash),
            ("HEAD", "/assets/hash/{hash}", self.has),
            ("GET", "/assets/tags/refine", self.refine),
            ("POST", "/assets/seed", self.scan),
            ("GET", "/assets/seed/status", self.scan_status),
            ("POST", "/assets/seed/cancel", self.stop_scan),
            ("POST", "/assets/prune", self.prune),
            ("GET", "/assets/{id}", self.get),
            ("PUT", "/assets/{id}", self.describe),
            ("DELETE", "/assets/{id}", self.delete),
            ("GET", "/assets/{id}/content", self.content),
            ("POST", "/assets/{id}/tags", self.add_tags),
            ("DELETE", "/assets/{id}/tags", self.remove_tags),
            ("GET", "/tags", self.tags),
        ]
        return [Route(path, _explained(handler), methods=[method]) for method, path, handler in table]

    async def find(self, request: Request) -> Response:
        scope, asked = await self._scopes.of(request), page_of(request)
        found = await self._db.read(assets.find, scope.account_id, asked.which)
        page, cursor = _page(found, asked)
        body = {
            "assets": [_shape(asset) for asset in page],
            "total": len(found),
            "has_more": cursor is not None,
            **({"next_cursor": cursor} if cursor else {}),
        }
        return answer(body)

    async def get(self, request: Request) -> Response:
        return answer(_shape(await self._asset(request)))

    async def content(self, request: Request) -> Response:
        file = (await self._asset(request)).file
        kind = "inline" if request.query_params.get("disposition", "").strip().lower() == "inline" else "attachment"
        disposition = f"{kind}; filename*=UTF-8''{quote(file.name, safe='')}"
        content = Content(file.digest, file.size, file.content_type, file.name)
        return await self._context.contents.serve(request, content, disposition=disposition)

    async def has(self, request: Request) -> Response:
        scope, digest = await self._scopes.of(request), digest_of(request.path_params["hash"])
        size = await self._db.lookup(files.blob_size, scope.account_id, digest)
        return Response(status_code=404 if size is None else 200)

    async def upload(self, request: Request) -> Response:
        """Bytes, or the hash of bytes that the account has."""
        scope, limit = await self._scopes.of(request), self._context.settings.upload_limit_bytes
        async with read_upload(request, limit) as form:
            new, upload = new_asset_of(form), form.get("file")
            if isinstance(upload, UploadFile):
                new = replace(new, filename=(upload.filename or "").rpartition("/")[2])
                chunks = pieces_of(upload)
                blob = await self._context.blobs.put_stream(chunks, limit=limit, digest=new.digest, name=new.filename)
                return await self._made(scope, replace(new, digest=blob.digest), blob.size)
        if new.digest is None or (size := await self._size_of(scope, new.digest)) is None:
            raise AssetError("MISSING_INPUT", "Provided hash not found and no file uploaded.")
        return await self._made(scope, new, size)

    async def from_hash(self, request: Request) -> Response:
        scope, body = await self._scopes.of(request), await read_object(request, self._limit)
        new = NewAsset.of_json(body)
        size = await self._size_of(scope, new.digest or "")
        if size is None:
            raise NotFound(f"Asset content blake3:{new.digest} does not exist")
        return await self._made(scope, new, size, status=201)

    async def describe(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        said: Description = description_of(await read_object(request, self._limit))
        wanted = asset_id(request)
        asset = await self._db.write(
            assets.describe, scope.account_id, wanted, label=said.name, about=said.about, now=now_ms()
        )
        return answer(_shape(asset))

    async def delete(self, request: Request) -> Response:
        """Forgets the file; the bytes stay while something else has them."""
        scope = await self._scopes.of(request)
        await self._db.write(files.remove_by_id, scope.account_id, asset_id(request))
        return Response(status_code=204)

    async def add_tags(self, request: Request) -> Response:
        scope, wanted = await self._scopes.of(request), tags_in(await read_object(request, self._limit))
        before, after = await self._db.write(assets.tag, scope.account_id, asset_id(request), wanted)
        there = [each for each in wanted if each in before.tags]
        added = [each for each in wanted if each not in before.tags]
        return answer({"added": added, "already_present": there, "total_tags": sorted(after.tags)})

    async def remove_tags(self, request: Request) -> Response:
        scope, wanted = await self._scopes.of(request), tags_in(await read_object(request, self._limit))
        before, after = await self._db.write(assets.tag, scope.account_id, asset_id(request), remove=wanted)
        gone = [each for each in wanted if each in before.file.tags]
        absent = [each for each in wanted if each not in before.file.tags]
        return answer({"removed": gone, "not_present": absent, "total_tags": sorted(after.tags)})

    async def refine(self, request: Request) -> Response:
        """How many of the assets that a list would hold have each tag."""
        scope, asked = await self._scopes.of(request), page_of(request, default=100, most=1000)
        found = await self._db.read(assets.find, scope.account_id, asked.which)
        counts = Counter(each for asset in found for each in asset.tags)
        return answer({"tag_counts": dict(_most_used(counts)[: asked.limit])})

    async def tags(self, request: Request) -> Response:
        scope, query = await self._scopes.of(request), request.query_params
        limit, offset = number_in(query, "limit", 100, 1, 1000), number_in(query, "offset", 0, 0, 10_000_000)
        counts = Counter(each for tags in await self._db.read(assets.tag_lists, scope.account_id) for each in tags)
        prefix = query.get("prefix", "").strip()
        chosen = [(name, count) for name, count in _most_used(counts) if name.startswith(prefix)]
        if query.get("order") == "name_asc":
            chosen.sort()
        page = [{"name": name, "count": count} for name, count in chosen[offset : offset + limit]]
        return answer({"tags": page, "total": len(chosen), "has_more": offset + len(page) < len(chosen)})

    async def scan(self, request: Request) -> Response:
        await self._scopes.of(request)
        nothing = dict.fromkeys(("scanned", "total", "created", "skipped"), 0)
        return answer({"status": "completed", "progress": nothing, "errors": []})

    async def scan_status(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer({"state": "IDLE", "progress": None, "errors": []})

    async def stop_scan(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer({"status": "idle"})

    async def prune(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer({"status": "completed", "marked": 0})

    @property
    def _limit(self) -> int:
        return self._context.settings.body_limit_bytes

    async def _asset(self, request: Request) -> Asset:
        scope = await self._scopes.of(request)
        return await self._db.lookup(assets.get, scope.account_id, asset_id(request))

    async def _size_of(self, scope: Scope, digest: str) -> int | None:
        return await self._db.lookup(files.blob_size, scope.account_id, digest)

    async def _made(self, scope: Scope, new: NewAsset, size: int, status: int | None = None) -> Response:
        digest = new.digest or ""
        known = await self._size_of(scope, digest) is not None
        path = _place_of(new, known)
        content_type = new.mime_type or content_type_of(new.filename or new.name or path)
        file = files.new_file(scope.account_id, path, digest, size, content_type, now_ms())
        own = tuple(each for each in new.tags if each not in assets.path_tags(path))
        file = replace(file, is_asset=True, label=new.name or new.filename, tags=own, about=new.about)
        asset = await self._db.write(_mint, file)
        return answer({**_shape(asset), "created_new": not known}, status or (200 if known else 201))


def _mint(conn: Connection, file: StoredFile) -> Asset:
    """The asset of a file; one that the account has already gets the new tags and description too."""
    if not files.touch_blob(conn, file.digest, file.created_at):
        raise NotFound(f"Asset content blake3:{file.digest} does not exist")
    minted, is_new = files.mint(conn, file)
    if not is_new:
        assets.describe(
            conn, file.account_id, minted.id, label=file.label or None, about=file.about, now=file.created_at
        )
        assets.tag(conn, file.account_id, minted.id, file.tags)
    return assets.get(conn, file.account_id, minted.id)


def _place_of(new: NewAsset, known: bool) -> str:
    """Where its bytes lie. Without a place among its tags, known bytes have a name in no folder. Raises AssetError."""
    roles, types = [tag for tag in new.tags if tag in ROLES], [tag for tag in new.tags if tag.startswith(MODEL_TYPE)]
    suffix = f".{new.filename.rpartition('.')[2]}" if "." in new.filename else ""
    name = f"{new.digest}{suffix if len(suffix) <= MAX_SUFFIX else ''}"
    if len(roles) > 1:
        raise AssetError("INVALID_BODY", f"uploads take one destination tag of {', '.join(ROLES)}")
    match roles, types:
        case ["models"], [model_type]:
            try:
                return parse_path(f"/models/{model_type.removeprefix(MODEL_TYPE)}/{name}")
            except InvalidPath as error:
                raise AssetError("INVALID_BODY", error.message) from error
        case ["models"], _:
            raise AssetError("INVALID_BODY", "models uploads require exactly one model_type:<folder_name> tag")
        case [role], _:
            return f"/{role}/{name}"
        case _ if known:
            return f"/asset/{uuid.uuid4()}"
        case _:
            raise AssetError("INVALID_BODY", "tags are required for new asset uploads")


def _page(found: list[Asset], asked: AssetPage) -> tuple[list[Asset], str | None]:
    """The assets of a page, and the cursor of the next one. Raises AssetError."""
    ordered = sorted(found, key=lambda asset: asset.position(asked.sort), reverse=asked.descending)
    start = asked.offset if asked.after is None else _after(ordered, asked)
    page = ordered[start : start + asked.limit]
    if not page or start + len(page) >= len(ordered):
        return page, None
    return page, cursor_of(asked.sort, asked.descending, *page[-1].position(asked.sort))


def _after(ordered: list[Asset], asked: AssetPage) -> int:
    try:
        sort, descending, *last = place_of(asked.after or "", str, bool, str | int, str)
        if (sort, descending) != (asked.sort, asked.descending):
            raise InvalidCursor("of another order")
        positions = enumerate(list(asset.position(asked.sort)) for asset in ordered)
        past = (index for index, each in positions if (each < last if asked.descending else each > last))
        return next(past, len(ordered))
    except (InvalidCursor, TypeError) as error:
        raise AssetError("INVALID_CURSOR", "The cursor is not one that such a list gave.") from error


def _most_used(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))


def _shape(asset: Asset) -> dict[str, Any]:
    file = asset.file
    digest = f"blake3:{file.digest}"
    shape = {
        "id": file.id,
        "name": file.name,
        "hash": digest,
        "asset_hash": digest,
        "loader_path": _loader_path(file),
        "display_name": file.path.partition("/")[2].partition("/")[2] if assets.path_tags(file.path) else None,
        "size": file.size,
        "mime_type": file.content_type,
        "tags": sorted(asset.tags),
        "preview_url": _preview_url(file),
        "preview_id": file.about.get("preview_id"),
        "user_metadata": file.about.get("user_metadata") or {},
        "is_immutable": False,
        "job_id": asset.prompt_id,
        "prompt_id": asset.prompt_id,
        "created_at": _time(file.created_at),
        "updated_at": _time(asset.updated_at),
        "last_access_time": _time(asset.updated_at),
    }
    return {name: value for name, value in shape.items() if value is not None}


def _loader_path(file: StoredFile) -> str | None:
    """What a loader takes: the path below the folder that it lists."""
    match assets.path_tags(file.path):
        case ("models", _):
            return file.path.split("/", 3)[3]
        case (_,):
            return file.path.split("/", 2)[2]
        case _:
            return None


def _preview_url(file: StoredFile) -> str | None:
    kind, _, rest = file.path.removeprefix("/").partition("/")
    if kind not in ("input", "output"):
        return None
    subfolder, _, name = rest.rpartition("/")
    below = f"&subfolder={quote(subfolder, safe='')}" if subfolder else ""
    return f"/api/view?type={kind}&filename={quote(name, safe='')}{below}"


def _time(time_ms: int) -> str:
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).isoformat()


def _explained(handler: Handler) -> Handler:
    """Errors in the form of ComfyUI's assets."""

    async def explained(request: Request) -> Response:
        try:
            return await handler(request)
        except AssetError as error:
            return _refusal(error.status, error.code, error.message)
        except NotFound as error:
            return _refusal(404, "ASSET_NOT_FOUND", error.message)
        except DigestMismatch:
            return _refusal(400, "HASH_MISMATCH", "Uploaded file hash does not match provided hash.")
        except (TooLarge, Unauthenticated) as error:
            return _refusal(error.status, error.code.upper(), error.message)
        except ComfywardError as error:
            if error.status >= 500:
                raise
            return _refusal(error.status, "INVALID_BODY", error.message)

    return explained


def _refusal(status: int, code: str, message: str) -> Response:
    return answer({"error": {"code": code, "message": message, "details": {}}}, status)
