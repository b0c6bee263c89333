"""The files that ComfyUI's nodes list with a button of their own, such as LoadImageOutput."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer, made_beside
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.named_files import KINDS
from comfyward.api.native.scope import Scopes
from comfyward.paths import INPUT_ROOT, OUTPUT_ROOT
from comfyward.store import files
from comfyward.store.db import Database
from comfyward.store.files import StoredFile

RECENT_RUNS = 200


class FileLists:
    def __init__(self, db: Database, scopes: Scopes) -> None:
        self._db, self._scopes = db, scopes

    def endpoints(self) -> list[Endpoint]:
        """Below / only, as ComfyUI has it."""
        listed = Models(answer=list[str])
        return [Endpoint("GET", "/internal/files/{kind}", self.find, "Names of files, newest first", listed)]

    async def find(self, request: Request) -> Response:
        """The account's uploads, or the outputs of its newest runs: `name [output]`. Previews are no files to load."""
        scope, kind = await self._scopes.of(request), request.path_params["kind"]
        match kind:
            case "input":
                found = await self._db.read(files.find, scope.account_id, INPUT_ROOT)
                about = files.LISTED_BYTES * len(found)
                body = await made_beside(scope.account_id, about, lambda: _shown(_uploads(found), kind))
            case "output":
                outputs = (scope.account_id, scope.results_of, RECENT_RUNS)
                paths = await self._db.read(files.newest_outputs, *outputs)
                about = files.LISTED_BYTES * len(paths)
                names = (path.removeprefix(OUTPUT_ROOT) for path in paths)
                body = await made_beside(scope.account_id, about, lambda: _shown(names, kind))
            case _ if kind in KINDS:
                return answer([])
            case _:
                return answer({"error": "Invalid directory type"}, 400)
        return Response(body, media_type="application/json")


def _uploads(found: list[StoredFile]) -> Iterator[str]:
    """The names of uploads that are in no folder, newest first."""
    newest = sorted(found, key=lambda file: file.named_at, reverse=True)
    names = (file.path.removeprefix(INPUT_ROOT) for file in newest)
    return (name for name in names if "/" not in name)


def _shown(names: Iterable[str], kind: str) -> list[str]:
    return [f"{name} [{kind}]" for name in names]
