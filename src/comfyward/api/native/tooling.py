"""Routes of the pack comfyui-tooling-nodes (`/api/etn/…`) that krita-ai-diffusion needs to connect.

Facts about models come from workers that have the pack; nothing is translated; pictures go in by upload and out by
history.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.account_catalog import AccountCatalogs
from comfyward.api.native.models import AnyObject, EtnStatus, PageQuery
from comfyward.api.native.scope import Scopes
from comfyward.api.receiving import received
from comfyward.api.whole_numbers import whole_number
from comfyward.dispatch.blobs import Blobs
from comfyward.errors import InvalidPath
from comfyward.paths import model_path
from comfyward.runs.files import content_type_of, parse_path
from comfyward.store import files
from comfyward.store.db import Database, now_ms

UNKNOWN = {"base_model": "unknown"}
MODEL_SUFFIXES = (".safetensors", ".sft")
MAX_MODELS = 1000
NOT_SERVED = "This route is not served: a worker's ComfyUI cannot be reached from outside."


NOT_IMPLEMENTED = Models(answer=AnyObject, status=501)


class Tooling:
    def __init__(
        self, db: Database, scopes: Scopes, catalogs: AccountCatalogs, blobs: Blobs, upload_limit_bytes: int
    ) -> None:
        self._db, self._scopes, self._catalogs, self._blobs = db, scopes, catalogs, blobs
        self._upload_limit_bytes = upload_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        info, image, changed = Models(query=PageQuery, answer=AnyObject), "/etn/image/{id}", Models(answer=EtnStatus)
        translate, uploaded = "/etn/translate/{language}/{text:path}", Models(body=OCTET_STREAM, answer=EtnStatus)
        return [
            Endpoint("GET", "/etn/model_info", self.model_info, "Facts about checkpoints", info),
            Endpoint("GET", "/etn/model_info/{folder}", self.model_info, "Facts about models", info),
            Endpoint("GET", "/etn/languages", self.languages, "Languages: none", Models(answer=list[str])),
            Endpoint("GET", translate, self.translate, "A text as it is", Models(answer=str)),
            Endpoint("PUT", "/etn/upload/{folder}/{filename}", self.upload, "Upload a model", uploaded),
            Endpoint("POST", "/etn/workflow/subscribe", self.subscribe, "Subscribe to graphs", changed),
            Endpoint("POST", "/etn/workflow/unsubscribe", self.subscribe, "Unsubscribe from graphs", changed),
            Endpoint("POST", "/etn/workflow/publish", self.not_served, "Not served", NOT_IMPLEMENTED),
            Endpoint("GET", image, self.not_served, "Not served", NOT_IMPLEMENTED),
            Endpoint("PUT", image, self.not_served, "Not served", NOT_IMPLEMENTED),
        ]

    async def model_info(self, request: Request) -> Response:
        """{name: {base_model, …}}, in pages if a limit is asked for, with the account's own models."""
        found = await self._catalogs.of(request)
        folder, models = request.path_params.get("folder", "checkpoints"), found.models
        if folder not in models:
            return answer({"error": f"Model folder not found: {folder}"}, 400)
        names, known = models[folder], found.catalog.model_info.get(folder, {}) if found.catalog else {}
        offset, limit = _number(request, "offset", 0), _number(request, "limit", MAX_MODELS)
        page: dict[str, Any] = {name: known.get(name, UNKNOWN) for name in islice(names, offset, offset + limit)}
        if "limit" in request.query_params:
            page["_meta"] = {"offset": offset, "count": len(page), "total": len(names)}
        return answer(page)

    async def languages(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer([])

    async def translate(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer(request.path_params["text"])

    async def upload(self, request: Request) -> Response:
        """Stores a model as a file of the account, unless it has one of the name."""
        scope, asked = await self._scopes.of(request), request.path_params
        if not asked["filename"].lower().endswith(MODEL_SUFFIXES):
            return answer({"error": "File extension must be .safetensors"}, 400)
        try:
            path = parse_path(model_path(f"{asked['folder']}/{asked['filename']}"))
        except InvalidPath as error:
            return answer({"error": error.message}, 400)
        if await self._db.read(files.at, scope.account_id, [path]):
            return answer({"status": "cached"})
        room = await self._blobs.room(scope.account_id, path)
        with room.within(self._upload_limit_bytes) as limit:
            async with received(request, scope.account_id) as chunks:
                blob = await self._blobs.put_stream(chunks, limit=limit, name=path)
        file = files.new_file(scope.account_id, path, blob.digest, blob.size, content_type_of(path), now_ms())
        await self._db.write(files.put, file, room.most)
        return answer({"status": "success"}, 201)

    async def subscribe(self, request: Request) -> Response:
        """No graph is ever published."""
        await self._scopes.of(request)
        return answer({"status": "success"})

    async def not_served(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer({"error": NOT_SERVED}, 501)


def _number(request: Request, name: str, default: int) -> int:
    number = whole_number(request.query_params.get(name, ""))
    return default if number is None else number
