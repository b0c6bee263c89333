"""ComfyUI's pictures of models: the one that lies beside a model, or the cover in its own metadata.

Only of models that the account has; those of workers lie on their hosts.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.contents import SAFE, Content
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.pictures import Pictures
from comfyward.api.native.scope import Scopes
from comfyward.dispatch.safetensors import read_header, read_text
from comfyward.errors import InvalidPath, InvalidRequest, NotFound
from comfyward.files.objects import Objects
from comfyward.runs.files import check_segments, content_type_of
from comfyward.store import files
from comfyward.store.db import Database
from comfyward.store.files import StoredFile

QUALITY = 80
WEBP = "image/webp"


class Previews:
    def __init__(self, db: Database, scopes: Scopes, pictures: Pictures, objects: Objects) -> None:
        self._db, self._scopes, self._pictures, self._objects = db, scopes, pictures, objects

    def endpoints(self) -> list[Endpoint]:
        path = "/experiment/models/preview/{folder}/{index}/{filename:path}"
        return [Endpoint("GET", path, self.preview, "A model's picture", Models(answer=WEBP))]

    async def preview(self, request: Request) -> Response:
        """Statuses are ComfyUI's: 400 for an index that is no number, 403 for a name that leads out, 404 for none."""
        scope, asked = await self._scopes.of(request), request.path_params
        if not asked["filename"] or not asked["index"].isdecimal():
            return Response(status_code=400)
        try:
            check_segments(asked["filename"])
        except InvalidPath:
            return Response(status_code=403)
        stem = f"/models/{asked['folder']}/{asked['filename'].rpartition('.')[0] or asked['filename']}"
        beside = {file.path: file for file in await self._db.read(files.find, scope.account_id, f"{stem}.")}
        try:
            picture = await self._picture(scope.account_id, stem, beside)
        except (NotFound, InvalidRequest):
            return Response(status_code=404)
        return Response(picture, media_type=WEBP, headers=SAFE)

    async def _picture(self, owner: str, stem: str, beside: dict[str, StoredFile]) -> bytes:
        """Raises NotFound, InvalidRequest."""
        for path, file in sorted(beside.items()):
            if path.rpartition(".")[0] in (stem, f"{stem}.preview") and content_type_of(path).startswith("image/"):
                content = Content(file.digest, file.size, file.content_type, path)
                if converted := await self._pictures.converted(owner, content, f"webp;{QUALITY}", "rgba"):
                    return converted.data
        if model := beside.get(f"{stem}.safetensors"):
            header = await read_header(self._objects, owner, model)
            return await self._pictures.as_webp(owner, await _cover(owner, header), QUALITY)
        raise NotFound("The model has no picture.")


async def _cover(owner: str, header: dict[str, Any]) -> bytes:
    """The first of the pictures inside a model. Raises NotFound."""
    try:
        pictures = await read_text(owner, str(header["__metadata__"]["ssmd_cover_images"]))
        return base64.b64decode(pictures[0])
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
        raise NotFound("The model has no picture.") from error
