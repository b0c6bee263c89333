"""The files that ComfyUI's nodes list with a button of their own, such as LoadImageOutput."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer, answer_beside
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
                names, count = _uploads(found), len(found)
            case "output":
                outputs = (scope.account_id, scope.results_of, RECENT_RUNS)
                paths = await self._db.read(files.newest_outputs, *outputs)
                names, count = (path.removeprefix(OUTPUT_ROOT) for path in paths), len(paths)
            case _ if kind in KINDS:
                return answer([])
            case _:
                return answer({"error": "Invalid directory type"}, 400)
        about = files.LISTED_BYTES * count
        return await answer_beside(scope.account_id, about, lambda: [f"{name} [{kind}]" for name in names])


def _uploads(found: list[StoredFile]) -> Iterator[str]:
    """The names of uploads that are in no folder, newest first; sorted where they are read, beside the event loop."""
    for file in sorted(found, key=lambda file: file.named_at, reverse=True):
        name = file.path.removeprefix(INPUT_ROOT)
        if "/" not in name:
            yield name
