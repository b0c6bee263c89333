"""What ComfyUI's editor keeps and asks for: settings, its user's files, and lists that are empty here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comfyward.api.body import answer, read_body
from comfyward.api.contents import Content
from comfyward.api.context import Context
from comfyward.api.native.scope import Scopes
from comfyward.errors import Conflict, InvalidRequest, NotFound
from comfyward.python_json import NOT_JSON, read_request
from comfyward.runs.files import check_segments
from comfyward.store import editor, files
from comfyward.store.db import now_ms
from comfyward.store.files import StoredFile

ROOT = "/userdata/"
DEFAULT_SETTINGS: dict[str, Any] = {
    # The editor's first visit opens its templates over the graph; whoever comes here has one already.
    "Comfy.TutorialCompleted": True,
    # Releases are the operator's business, and are asked of another host.
    "Comfy.Notification.ShowVersionUpdates": False,
}
# A workflow is kept here, not in the browser, which would open in one workflow what another had open.
WORKFLOW_SETTINGS: dict[str, Any] = {"Comfy.Workflow.Persist": False}
# What the editor looks for at each start, and what it finds before anybody has made one.
FIRST_FOLDERS = (ROOT, f"{ROOT}workflows/", f"{ROOT}subgraphs/")
FIRST_FILES = {
    "user.css": (b"", "text/css"),
    "comfy.templates.json": (b"[]", "application/json"),
    "workflows/.index.json": (b'{"favorites": []}', "application/json"),
}
OURS = "/extensions/comfyward/ours.js"
# The editor's words for what is done otherwise here: 1.58 has those of the panel, 1.32 those of the dialog.
WORDS = (Path(__file__).parent / "editor" / "words.json").read_bytes()
EMPTY_OBJECTS = ("/global_subgraphs", "/workflow_templates", "/node_replacements")


class Userdata:
    def __init__(self, context: Context, scopes: Scopes) -> None:
        self._context, self._db, self._scopes = context, context.db, scopes

    def routes(self) -> list[Route]:
        return [
            Route("/settings", self.settings, methods=["GET"]),
            Route("/settings", self.change_settings, methods=["POST"]),
            Route("/settings/{name:path}", self.setting, methods=["GET"]),
            Route("/settings/{name:path}", self.change_setting, methods=["POST"]),
            Route("/users", self.users, methods=["GET"]),
            Route("/userdata", self.find, methods=["GET"]),
            Route("/v2/userdata", self.find_with_folders, methods=["GET"]),
            Route("/userdata/{source:path}/move/{target:path}", self.move, methods=["POST"]),
            Route("/userdata/{name:path}", self.get, methods=["GET"]),
            Route("/userdata/{name:path}", self.put, methods=["POST"]),
            Route("/userdata/{name:path}", self.delete, methods=["DELETE"]),
            Route("/extensions", self.extensions, methods=["GET"]),
            Route("/i18n", self.words, methods=["GET"]),
            *(Route(path, self.no_object, methods=["GET"]) for path in EMPTY_OBJECTS),
            Route("/global_subgraphs/{id}", self.no_subgraph, methods=["GET"]),
        ]

    async def settings(self, request: Request) -> Response:
        return answer(await self._settings(request))

    async def setting(self, request: Request) -> Response:
        return answer((await self._settings(request)).get(request.path_params["name"]))

    async def change_settings(self, request: Request) -> Response:
        changes = await self._json(request)
        if not isinstance(changes, dict):
            raise InvalidRequest("The body must be an object of settings.")
        return await self._change(request, changes)

    async def change_setting(self, request: Request) -> Response:
        return await self._change(request, {request.path_params["name"]: await self._json(request)})

    async def users(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer({"storage": "server", "migrated": True})

    async def find(self, request: Request) -> Response:
        scope, query = await self._scopes.of(request), request.query_params
        folder = _folder(query.get("dir", ""))
        found = await self._db.read(files.find, scope.account_id, folder)
        if not found and folder not in FIRST_FOLDERS:
            return Response(status_code=404)
        if query.get("recurse") != "true":
            found = [file for file in found if "/" not in file.path.removeprefix(folder)]
        if query.get("full_info") == "true":
            return answer([_info(file, folder) for file in found])
        names = [file.path.removeprefix(folder) for file in found]
        return answer([[name, *name.split("/")] for name in names] if query.get("split") == "true" else names)

    async def find_with_folders(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        folder = _folder(request.query_params.get("path", ""))
        found = await self._db.read(files.find, scope.account_id, folder)
        entries: dict[str, dict[str, Any]] = {}
        for file in found:
            name, slash, _ = file.path.removeprefix(folder).partition("/")
            path = f"{folder}{name}".removeprefix(ROOT)
            entries[name] = (
                {"name": name, "path": path, "type": "directory"}
                if slash
                else {"name": name, "type": "file", **_info(file, ROOT)}
            )
        return answer(list(entries.values()))

    async def get(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        try:
            file = await self._db.lookup(files.get, scope.account_id, _path(request, "name"))
        except NotFound:
            first = FIRST_FILES.get(request.path_params["name"])
            return Response(first[0], media_type=first[1]) if first else Response(status_code=404)
        content = Content(file.digest, file.size, file.content_type, file.path)
        return await self._context.contents.serve(request, content, may_change=True)

    async def put(self, request: Request) -> Response:
        scope, query = await self._scopes.of(request), request.query_params
        path = _path(request, "name")
        await self._refuse_taken(scope.account_id, path, query.get("overwrite"))
        limit = self._context.settings.body_limit_bytes
        blob = await self._context.blobs.put_stream(_body(request), limit=limit, name=path)
        content_type = "application/json" if path.endswith(".json") else "application/octet-stream"
        file = files.new_file(scope.account_id, path, blob.digest, blob.size, content_type, now_ms())
        file = await self._db.write(files.put, file)
        return answer(_info(file, ROOT) if query.get("full_info") == "true" else file.path.removeprefix(ROOT))

    async def delete(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        try:
            await self._db.write(files.remove, scope.account_id, _path(request, "name"))
        except NotFound:
            return Response(status_code=404)
        return Response(status_code=204)

    async def move(self, request: Request) -> Response:
        scope, query = await self._scopes.of(request), request.query_params
        source, target = _path(request, "source"), _path(request, "target")
        await self._refuse_taken(scope.account_id, target, query.get("overwrite"))
        try:
            moved = await self._db.write(files.rename, scope.account_id, source, target, now_ms())
        except NotFound:
            return Response(status_code=404)
        return answer(_info(moved, ROOT) if query.get("full_info") == "true" else moved.path.removeprefix(ROOT))

    async def extensions(self, request: Request) -> Response:
        """Which scripts the editor loads at its start: ours alone; those of packs stay with ComfyUI."""
        await self._scopes.of(request)
        return answer([OURS])

    async def words(self, request: Request) -> Response:
        await self._scopes.of(request)
        return Response(WORDS, media_type="application/json")

    async def no_subgraph(self, request: Request) -> Response:
        """ComfyUI answers null for one that it does not have."""
        await self._scopes.of(request)
        return answer(None)

    async def no_object(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer({})

    async def _refuse_taken(self, account_id: str, path: str, overwrite: str | None) -> None:
        if overwrite == "false":
            taken = await self._db.lookup(files.at, account_id, [path])
            if taken:
                raise Conflict("There is a file of this name already.")

    async def _settings(self, request: Request) -> dict[str, Any]:
        scope = await self._scopes.of(request)
        own = WORKFLOW_SETTINGS if scope.workflow_id else {}
        return DEFAULT_SETTINGS | own | await self._db.lookup(editor.settings, scope.account_id)

    async def _change(self, request: Request, changes: dict[str, Any]) -> Response:
        scope = await self._scopes.of(request)
        if any(not name or len(name) > 200 for name in changes):
            raise InvalidRequest("A setting's name must have 1 to 200 characters.")
        await self._db.write(editor.change_settings, scope.account_id, changes)
        return Response()

    async def _json(self, request: Request) -> Any:
        raw = await read_body(request, self._context.settings.body_limit_bytes)
        try:
            return read_request(raw)
        except NOT_JSON as error:
            raise InvalidRequest(f"The body is not valid JSON: {error}.") from error


def _path(request: Request, name: str) -> str:
    path = f"{ROOT}{request.path_params[name]}"
    check_segments(path.removeprefix(ROOT))
    return path


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


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        yield piece
