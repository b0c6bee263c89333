"""ComfyUI's route for pictures of models."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.contents import SAFE
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.model_pictures import WEBP, ModelPictures
from comfyward.api.native.scope import Scopes
from comfyward.errors import InvalidPath, InvalidRequest, NotFound
from comfyward.paths import model_path
from comfyward.runs.files import check_segments


class Previews:
    def __init__(self, scopes: Scopes, pictures: ModelPictures) -> None:
        self._scopes, self._pictures = scopes, pictures

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
        try:
            path = model_path(f"{asked['folder']}/{asked['filename']}")
            picture = await self._pictures.picture(scope.account_id, path)
        except (NotFound, InvalidRequest):
            return Response(status_code=404)
        return Response(picture, media_type=WEBP, headers=SAFE)
