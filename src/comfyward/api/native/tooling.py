"""Routes of the pack comfyui-tooling-nodes (`/api/etn/…`) for krita-ai-diffusion, which asks for them to connect.

What a model is, workers say that have the pack; nothing is translated; pictures go in by upload and out by history.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comfyward.api.body import answer
from comfyward.api.context import Context
from comfyward.api.native.scope import Scopes
from comfyward.api.whole_numbers import whole_number
from comfyward.errors import InvalidPath
from comfyward.runs.files import content_type_of, parse_path
from comfyward.store import files
from comfyward.store.db import now_ms
from comfyward.workflows.catalog import Catalog

UNKNOWN = {"base_model": "unknown"}
MODEL_SUFFIXES = (".safetensors", ".sft")
MAX_MODELS = 1000
NOT_SERVED = "comfyward hands no pictures to nodes by this route: its workers' ComfyUI cannot be reached from outside."


class Tooling:
    def __init__(self, context: Context, scopes: Scopes) -> None:
        self._context, self._scopes = context, scopes

    def routes(self) -> list[Route]:
        return [
            Route("/etn/model_info", self.model_info, methods=["GET"]),
            Route("/etn/model_info/{folder}", self.model_info, methods=["GET"]),
            Route("/etn/languages", self.languages, methods=["GET"]),
            Route("/etn/translate/{language}/{text:path}", self.translate, methods=["GET"]),
            Route("/etn/upload/{folder}/{filename}", self.upload, methods=["PUT"]),
            Route("/etn/workflow/subscribe", self.subscribe, methods=["POST"]),
            Route("/etn/workflow/unsubscribe", self.subscribe, methods=["POST"]),
            Route("/etn/workflow/publish", self.not_served, methods=["POST"]),
            Route("/etn/image/{id}", self.not_served, methods=["GET", "PUT"]),
        ]

    async def model_info(self, request: Request) -> Response:
        """{name: {base_model, …}}, in pages where a limit is asked for; the account's own models are among them."""
        scope, catalog = await self._scopes.of(request), await self._context.inventory.catalog_lately() or Catalog()
        folder = request.path_params.get("folder", "checkpoints")
        found = catalog.models_with(await self._context.db.read(files.usable_paths, scope.account_id))
        if folder not in found:
            return answer({"error": f"Model folder not found: {folder}"}, 400)
        names, known = found[folder], catalog.model_info.get(folder, {})
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
        """A model becomes a file of the account, unless it has one of the name."""
        scope, asked = await self._scopes.of(request), request.path_params
        if not asked["filename"].lower().endswith(MODEL_SUFFIXES):
            return answer({"error": "File extension must be .safetensors"}, 400)
        try:
            path = parse_path(f"/models/{asked['folder']}/{asked['filename']}")
        except InvalidPath as error:
            return answer({"error": error.message}, 400)
        if await self._context.db.read(files.at, scope.account_id, [path]):
            return answer({"status": "cached"})
        limit = self._context.settings.upload_limit_bytes
        blob = await self._context.blobs.put_stream(request.stream(), limit=limit, name=path)
        file = files.new_file(scope.account_id, path, blob.digest, blob.size, content_type_of(path), now_ms())
        await self._context.db.write(files.put, file)
        return answer({"status": "success"}, 201)

    async def subscribe(self, request: Request) -> Response:
        """Nothing is ever published."""
        await self._scopes.of(request)
        return answer({"status": "success"})

    async def not_served(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer({"error": NOT_SERVED}, 501)


def _number(request: Request, name: str, default: int) -> int:
    number = whole_number(request.query_params.get(name, ""))
    return default if number is None else number
