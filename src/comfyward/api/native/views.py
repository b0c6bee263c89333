"""ComfyUI's routes that show files: /view, and the metadata of models."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from comfyward.api.body import answer
from comfyward.api.contents import OCTET_STREAM, SAFE, Contents
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.models import AnyObject, FileName, ViewQuery
from comfyward.api.native.named_files import NamedFiles
from comfyward.api.native.pictures import Pictures
from comfyward.api.native.scope import Scopes
from comfyward.dispatch.safetensors import read_header
from comfyward.errors import NotFound
from comfyward.files.objects import Objects
from comfyward.paths import model_path
from comfyward.runs.files import Url, disposition_of
from comfyward.store import usable_files
from comfyward.store.db import Database

_ACTIVE_TYPES = ("text/html", "text/javascript", "application/javascript", "text/css", "application/xhtml+xml")


class Views:
    def __init__(
        self, db: Database, scopes: Scopes, names: NamedFiles, contents: Contents, pictures: Pictures, objects: Objects
    ) -> None:
        self._db, self._scopes, self._names = db, scopes, names
        self._contents, self._pictures, self._objects = contents, pictures, objects

    def endpoints(self) -> list[Endpoint]:
        view, metadata = Models(query=ViewQuery, answer=OCTET_STREAM), Models(query=FileName, answer=AnyObject)
        return [
            Endpoint("GET", "/view", self.view, "A file, or a picture in another form", view),
            Endpoint("GET", "/view_metadata/{folder}", self.metadata, "The metadata of a model", metadata),
        ]

    async def view(self, request: Request) -> Response:
        scope, query = await self._scopes.of(request), request.query_params
        names = query.get("filename", ""), query.get("subfolder", ""), query.get("type", "output")
        try:
            kind, found = await self._names.find(scope, *names)
        except NotFound:
            return Response(status_code=404)
        if isinstance(found, Url):
            return RedirectResponse(found.url, 307)
        content_type = OCTET_STREAM if found.content_type in _ACTIVE_TYPES else found.content_type
        disposition = disposition_of(content_type, found.name)
        if "preview" in query or "channel" in query:
            converted = await self._pictures.converted(
                scope.account_id, found, query.get("preview"), query.get("channel", "rgba")
            )
            if converted is not None:
                headers = {"Content-Disposition": disposition, **SAFE}
                return Response(converted.data, media_type=converted.content_type, headers=headers)
        content = replace(found, content_type=content_type)
        return await self._contents.serve(request, content, may_change=kind == "input", disposition=disposition)

    async def metadata(self, request: Request) -> Response:
        """The `__metadata__` of a safetensors file of the account, or of one that is shared."""
        scope = await self._scopes.of(request)
        path = model_path(f"{request.path_params['folder']}/{request.query_params.get('filename', '')}")
        try:
            file = await self._db.lookup(usable_files.usable, scope.account_id, path)
            header = await read_header(self._objects, scope.account_id, file)
        except NotFound:
            return Response(status_code=404)
        return answer(header["__metadata__"]) if "__metadata__" in header else Response(status_code=404)
