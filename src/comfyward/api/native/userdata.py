"""The files of ComfyUI's editor, by account: saved workflows, its index, its styles."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer, answer_beside
from comfyward.api.contents import OCTET_STREAM, Content, Contents
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.limits import RequestLimits
from comfyward.api.native.models import FolderQuery, PutQuery, UserEntry, UserFile, UserFilesQuery
from comfyward.api.native.scope import Scopes
from comfyward.api.receiving import received
from comfyward.dispatch.blobs import Blobs
from comfyward.errors import Conflict, NotFound
from comfyward.runs.files import check_segments
from comfyward.store import files
from comfyward.store.db import Database, now_ms
from comfyward.store.files import StoredFile

ROOT = "/userdata/"
# Folders and files that the editor asks for at each start, as they are before it has saved any.
FIRST_FOLDERS = (ROOT, f"{ROOT}workflows/", f"{ROOT}subgraphs/")
FIRST_FILES = {
    "user.css": (b"", "text/css"),
    "comfy.templates.json": (b"[]", "application/json"),
    "workflows/.index.json": (b'{"favorites": []}', "application/json"),
}


class Userdata:
    """A file may be as large as a body; a workflow as large as a graph."""

    def __init__(self, db: Database, scopes: Scopes, blobs: Blobs, contents: Contents, limits: RequestLimits) -> None:
        self._db, self._scopes, self._blobs, self._contents = db, scopes, blobs, contents
        self._limits = limits

    def endpoints(self) -> list[Endpoint]:
        path, move = "/userdata/{name:path}", "/userdata/{source:path}/move/{target:path}"
        listed = Models(query=UserFilesQuery, answer=list[str] | list[list[str]] | list[UserFile])
        entries = Models(query=FolderQuery, answer=list[UserEntry])
        stored = Models(query=PutQuery, body=OCTET_STREAM, answer=str | UserFile)
        return [
            Endpoint("GET", "/userdata", self.find, "List files", listed),
            Endpoint("GET", "/v2/userdata", self.find_with_folders, "List files and folders", entries),
            Endpoint("POST", move, self.move, "Rename a file", Models(query=PutQuery, answer=str | UserFile)),
            Endpoint("GET", path, self.get, "A file", Models(answer=OCTET_STREAM)),
            Endpoint("POST", path, self.put, "Store a file", stored),
            Endpoint("DELETE", path, self.delete, "Delete a file", Models(status=204)),
        ]

    async def find(self, request: Request) -> Response:
        scope, query = await self._scopes.of(request), request.query_params
        folder = _folder(query.get("dir", ""))
        found = await self._db.read(files.find, scope.account_id, folder)
        if not found and folder not in FIRST_FOLDERS:
            return Response(status_code=404)

        def shown() -> list[Any]:
            chosen = found
            if query.get("recurse") != "true":
                chosen = [file for file in found if "/" not in file.path.removeprefix(folder)]
            if query.get("full_info") == "true":
                return [_info(file, folder) for file in chosen]
            names = [file.path.removeprefix(folder) for file in chosen]
            return [[name, *name.split("/")] for name in names] if query.get("split") == "true" else names

        return await answer_beside(scope.account_id, files.LISTED_BYTES * len(found), shown)

    async def find_with_folders(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        folder = _folder(request.query_params.get("path", ""))
        found = await self._db.read(files.find, scope.account_id, folder)

        def shown() -> list[Any]:
            entries: dict[str, dict[str, Any]] = {}
            for file in found:
                *folders, name = file.path.removeprefix(folder).split("/")
                for depth, each in enumerate(folders, 1):
                    path = folder.removeprefix(ROOT) + "/".join(folders[:depth])
                    entries[path] = {"name": each, "path": path, "type": "directory"}
                modified = file.named_at / 1000  # in seconds here, as ComfyUI has it
                about = {**_info(file, ROOT), "modified": modified}
                entries[file.path.removeprefix(ROOT)] = {"name": name, "type": "file", **about}
            return list(entries.values())

        return await answer_beside(scope.account_id, files.LISTED_BYTES * len(found), shown)

    async def get(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        try:
            file = await self._db.lookup(files.get, scope.account_id, _path(request, "name"))
        except NotFound:
            first = FIRST_FILES.get(request.path_params["name"])
            return Response(first[0], media_type=first[1]) if first else Response(status_code=404)
        content = Content(file.digest, file.size, file.content_type, file.path)
        return await self._contents.serve(request, content, may_change=True)

    async def put(self, request: Request) -> Response:
        scope, path = await self._scopes.of(request), _path(request, "name")
        await self._refuse_taken(request, scope.account_id, path)
        room = await self._blobs.room(scope.account_id, path)
        with room.within(self._limits.graph.most if _is_workflow(path) else self._limits.body) as limit:
            async with received(request, scope.account_id) as chunks:
                blob = await self._blobs.put_stream(chunks, limit=limit, name=path)
        content_type = "application/json" if path.endswith(".json") else OCTET_STREAM
        file = files.new_file(scope.account_id, path, blob.digest, blob.size, content_type, now_ms())
        return _stored(request, await self._db.write(files.put, file, room.most))

    async def delete(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        try:
            await self._db.write(files.remove, scope.account_id, _path(request, "name"))
        except NotFound:
            return Response(status_code=404)
        return Response(status_code=204)

    async def move(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        source, target = _path(request, "source"), _path(request, "target")
        await self._refuse_taken(request, scope.account_id, target)
        try:
            if _is_workflow(target):
                self._limits.graph.check((await self._db.lookup(files.get, scope.account_id, source)).size)
            return _stored(request, await self._db.write(files.rename, scope.account_id, source, target, now_ms()))
        except NotFound:
            return Response(status_code=404)

    async def _refuse_taken(self, request: Request, account_id: str, path: str) -> None:
        """Raises Conflict for a name that is taken, unless it may be overwritten."""
        if request.query_params.get("overwrite") == "false":
            taken = await self._db.lookup(files.at, account_id, [path])
            if taken:
                raise Conflict("There is a file of this name already.")


def _stored(request: Request, file: StoredFile) -> Response:
    full = request.query_params.get("full_info") == "true"
    return answer(_info(file, ROOT) if full else file.path.removeprefix(ROOT))


def _is_workflow(path: str) -> bool:
    return path.startswith(FIRST_FOLDERS[1:]) and path.endswith(".json")


def _path(request: Request, name: str) -> str:
    path = request.path_params[name]
    check_segments(path)
    return f"{ROOT}{path}"


def _folder(name: str) -> str:
    name = name.strip("/")
    if not name:
        return ROOT
    check_segments(name)
    return f"{ROOT}{name}/"


def _info(file: StoredFile, folder: str) -> dict[str, Any]:
    return {
        "path": file.path.removeprefix(folder),
        "size": file.size,
        "modified": file.named_at,
        "created": file.created_at,
    }
