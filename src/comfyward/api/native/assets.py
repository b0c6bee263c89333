"""ComfyUI's /api/assets and /api/tags, which it has with --enable-assets: the account's files, by tag and by hash.

(Source: ComfyUI's app/assets/api.) A new file lies where its tags say, under its digest: `input`, `output`, or `models`
with one `model_type:FOLDER`. There is nothing to scan: every file of the account is known.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import replace
from urllib.parse import quote

from sqlalchemy import Connection
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer, pieces_of
from comfyward.api.contents import OCTET_STREAM, Content, Contents
from comfyward.api.endpoint import FORM, Endpoint, Media, Models
from comfyward.api.limits import RequestLimits
from comfyward.api.native.asset_errors import AssetError, with_asset_errors
from comfyward.api.native.asset_models import (
    Asset,
    AssetChange,
    AssetList,
    AssetQuery,
    AssetUpload,
    ContentQuery,
    Counts,
    HashRequest,
    NewAsset,
    TagList,
    TagQuery,
    Tags,
    TagsAdded,
    TagsRemoved,
)
from comfyward.api.native.asset_requests import (
    AssetSpec,
    asset_id,
    description_of,
    digest_of,
    new_asset_of,
    number_in,
    page_of,
    read_object,
    tags_in,
)
from comfyward.api.native.asset_shapes import asset_shape, page_of_assets
from comfyward.api.native.models import AnyObject
from comfyward.api.native.scope import Scope, Scopes
from comfyward.api.receiving import received_form
from comfyward.dispatch.blobs import Blobs
from comfyward.errors import InvalidPath, NotFound
from comfyward.paths import model_path
from comfyward.runs.files import content_type_of, parse_path
from comfyward.store import assets, blobs, files
from comfyward.store.assets import MODEL_TYPE, ROLES
from comfyward.store.db import Database, now_ms
from comfyward.store.files import StoredFile

UPLOADED = Models(body=Media(FORM, AssetUpload), answer=NewAsset, status=201)
FROM_HASH = Models(body=HashRequest, answer=NewAsset, status=201)
MAX_SUFFIX = 16


class Assets:
    """`limits` are those of a body and of a file."""

    def __init__(self, db: Database, scopes: Scopes, blobs: Blobs, contents: Contents, limits: RequestLimits) -> None:
        self._db, self._scopes, self._blobs, self._contents, self._limits = db, scopes, blobs, contents, limits

    def endpoints(self) -> list[Endpoint]:
        """Below /api only: /assets holds the editor's own files."""
        one, each = "/assets/{id}", Models(answer=Asset)
        tags, scan = "/assets/{id}/tags", "/assets/seed"
        added, removed = Models(body=Tags, answer=TagsAdded), Models(body=Tags, answer=TagsRemoved)
        content = Models(query=ContentQuery, answer=OCTET_STREAM)
        table = [
            Endpoint("GET", "/assets", self.find, "List assets", Models(query=AssetQuery, answer=AssetList)),
            Endpoint("POST", "/assets", self.upload, "Upload an asset", UPLOADED),
            Endpoint("POST", "/assets/from-hash", self.from_hash, "Create an asset of known bytes", FROM_HASH),
            Endpoint("HEAD", "/assets/hash/{hash}", self.head, "Check if bytes are known"),
            Endpoint("GET", "/assets/tags/refine", self.refine, "Count tags", Models(query=AssetQuery, answer=Counts)),
            Endpoint("POST", scan, self.scan, "Scan for files: done", Models(answer=AnyObject)),
            Endpoint("GET", f"{scan}/status", self.scan_status, "State of the scan", Models(answer=AnyObject)),
            Endpoint("POST", f"{scan}/cancel", self.stop_scan, "Stop the scan", Models(answer=AnyObject)),
            Endpoint("POST", "/assets/prune", self.prune, "Prune: nothing to do", Models(answer=AnyObject)),
            Endpoint("GET", one, self.get, "Get an asset", each),
            Endpoint("PUT", one, self.describe, "Change an asset", Models(body=AssetChange, answer=Asset)),
            Endpoint("DELETE", one, self.delete, "Delete an asset", Models(status=204)),
            Endpoint("GET", f"{one}/content", self.content, "An asset's bytes", content),
            Endpoint("POST", tags, self.add_tags, "Add tags", added),
            Endpoint("DELETE", tags, self.remove_tags, "Remove tags", removed),
            Endpoint("GET", "/tags", self.tags, "List tags", Models(query=TagQuery, answer=TagList)),
        ]
        return [replace(endpoint, handler=with_asset_errors(endpoint.handler)) for endpoint in table]

    async def find(self, request: Request) -> Response:
        scope, asked = await self._scopes.of(request), page_of(request)
        found = await self._db.read(assets.find, scope.account_id, asked.which)
        page, cursor = page_of_assets(found, asked)
        body = {
            "assets": [asset_shape(asset) for asset in page],
            "total": len(found),
            "has_more": cursor is not None,
            **({"next_cursor": cursor} if cursor else {}),
        }
        return answer(body)

    async def get(self, request: Request) -> Response:
        return answer(asset_shape(await self._asset(request)))

    async def content(self, request: Request) -> Response:
        file = (await self._asset(request)).file
        kind = "inline" if request.query_params.get("disposition", "").strip().lower() == "inline" else "attachment"
        disposition = f"{kind}; filename*=UTF-8''{quote(file.name, safe='')}"
        content = Content(file.digest, file.size, file.content_type, file.name)
        return await self._contents.serve(request, content, disposition=disposition)

    async def head(self, request: Request) -> Response:
        scope, digest = await self._scopes.of(request), digest_of(request.path_params["hash"])
        size = await self._db.lookup(blobs.size_for, scope.account_id, digest)
        return Response(status_code=404 if size is None else 200)

    async def upload(self, request: Request) -> Response:
        """Takes bytes, or the hash of bytes that the account has."""
        scope, limit = await self._scopes.of(request), self._limits.upload
        async with received_form(request, self._blobs, scope.account_id, limit) as form:
            new, upload = new_asset_of(form), form.get("file")
            if isinstance(upload, UploadFile):
                new = replace(new, filename=(upload.filename or "").rpartition("/")[2])
                chunks = pieces_of(upload)
                room = await self._blobs.room(scope.account_id, _path_of(new, known=True))
                with room.within(limit) as most:
                    blob = await self._blobs.put_stream(chunks, limit=most, digest=new.digest, name=new.filename)
                return await self._create(scope, replace(new, digest=blob.digest), blob.size)
        if new.digest is None or (size := await self._size_of(scope, new.digest)) is None:
            raise AssetError("MISSING_INPUT", "Provided hash not found and no file uploaded.")
        return await self._create(scope, new, size)

    async def from_hash(self, request: Request) -> Response:
        scope, body = await self._scopes.of(request), await read_object(request, self._limits.body)
        new = AssetSpec.of_json(body)
        size = await self._size_of(scope, new.digest or "")
        if size is None:
            raise NotFound(f"Asset content blake3:{new.digest} does not exist")
        return await self._create(scope, new, size, status=201)

    async def describe(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        change = description_of(await read_object(request, self._limits.body))
        asset = await self._db.write(
            assets.describe, scope.account_id, asset_id(request), label=change.name, about=change.about, now=now_ms()
        )
        return answer(asset_shape(asset))

    async def delete(self, request: Request) -> Response:
        """Deletes the file; its bytes stay as long as something else uses them."""
        scope = await self._scopes.of(request)
        await self._db.write(files.remove_by_id, scope.account_id, asset_id(request))
        return Response(status_code=204)

    async def add_tags(self, request: Request) -> Response:
        scope, wanted = await self._scopes.of(request), tags_in(await read_object(request, self._limits.body))
        before, after = await self._db.write(assets.tag, scope.account_id, asset_id(request), wanted)
        there = [each for each in wanted if each in before.tags]
        added = [each for each in wanted if each not in before.tags]
        return answer({"added": added, "already_present": there, "total_tags": sorted(after.tags)})

    async def remove_tags(self, request: Request) -> Response:
        scope, wanted = await self._scopes.of(request), tags_in(await read_object(request, self._limits.body))
        before, after = await self._db.write(assets.tag, scope.account_id, asset_id(request), remove=wanted)
        gone = [each for each in wanted if each in before.file.tags]
        absent = [each for each in wanted if each not in before.file.tags]
        return answer({"removed": gone, "not_present": absent, "total_tags": sorted(after.tags)})

    async def refine(self, request: Request) -> Response:
        """The number of assets with each tag, among those that a list would hold."""
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

    async def _asset(self, request: Request) -> assets.Asset:
        scope = await self._scopes.of(request)
        return await self._db.lookup(assets.get, scope.account_id, asset_id(request))

    async def _size_of(self, scope: Scope, digest: str) -> int | None:
        return await self._db.lookup(blobs.size_for, scope.account_id, digest)

    async def _create(self, scope: Scope, new: AssetSpec, size: int, status: int | None = None) -> Response:
        digest = new.digest or ""
        known = await self._size_of(scope, digest) is not None
        path = _path_of(new, known)
        content_type = new.mime_type or content_type_of(new.filename or new.name or path)
        file = files.new_file(scope.account_id, path, digest, size, content_type, now_ms())
        own = tuple(each for each in new.tags if each not in assets.path_tags(path))
        file = replace(file, is_asset=True, label=new.name or new.filename, tags=own, about=new.about)
        room = await self._blobs.room(scope.account_id, path)
        asset = await self._db.write(_mint, file, room.most)
        return answer({**asset_shape(asset), "created_new": not known}, status or (200 if known else 201))


def _mint(conn: Connection, file: StoredFile, most: int) -> assets.Asset:
    """The asset of a file; one that the account has already gets the new tags and description too."""
    if not blobs.touch(conn, file.digest, file.created_at):
        raise NotFound(f"Asset content blake3:{file.digest} does not exist")
    minted, is_new = files.mint(conn, file, most)
    if not is_new:
        assets.describe(
            conn, file.account_id, minted.id, label=file.label or None, about=file.about, now=file.created_at
        )
        assets.tag(conn, file.account_id, minted.id, file.tags)
    return assets.get(conn, file.account_id, minted.id)


def _path_of(new: AssetSpec, known: bool) -> str:
    """The path of an asset's file. Known bytes without a destination tag lie in no folder. Raises AssetError."""
    roles, types = [tag for tag in new.tags if tag in ROLES], [tag for tag in new.tags if tag.startswith(MODEL_TYPE)]
    suffix = f".{new.filename.rpartition('.')[2]}" if "." in new.filename else ""
    name = f"{new.digest}{suffix if len(suffix) <= MAX_SUFFIX else ''}"
    if len(roles) > 1:
        raise AssetError("INVALID_BODY", f"uploads take one destination tag of {', '.join(ROLES)}")
    match roles, types:
        case ["models"], [model_type]:
            try:
                return parse_path(model_path(f"{model_type.removeprefix(MODEL_TYPE)}/{name}"))
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


def _most_used(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))
