"""Files as ComfyUI's clients name them: filename, subfolder and type.

`input` is the account's own files, `output` and `temp` the files of its runs, with the run's id as subfolder.
"""

from __future__ import annotations

import contextlib
import posixpath
import re

from sqlalchemy import Connection

from comfyward.api.contents import Content, find_input
from comfyward.api.native.scope import Scope
from comfyward.errors import InvalidPath, InvalidRequest, NotFound
from comfyward.paths import INPUT_ROOT
from comfyward.runs.files import Stored, Url, check_segments, content_type_of
from comfyward.store import runs
from comfyward.store.db import Database

KINDS = ("input", "output", "temp")
_ANNOTATED = re.compile(r"(.+) \[(input|output|temp)\]", re.DOTALL)


class NamedFiles:
    """Finds files by their names."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def find(self, scope: Scope, filename: str, subfolder: str, kind: str) -> tuple[str, Content | Url]:
        """The file, with its kind. Raises NotFound, InvalidPath, InvalidRequest."""
        *others, last = _readings(filename, subfolder, kind)
        for each, path in others:
            with contextlib.suppress(NotFound):
                return each, await self._file(scope, each, path)
        return last[0], await self._file(scope, *last)

    async def _file(self, scope: Scope, kind: str, path: str) -> Content | Url:
        """Raises NotFound."""
        if kind != "input":
            return await self._db.lookup(_run_file, scope.account_id, kind, path, scope.results_of)
        source = await find_input(self._db, scope.account_id, scope.target_workflow_id, f"{INPUT_ROOT}{path}")
        match source:
            case Url():
                return source
            case Stored(digest, size):
                return Content(digest, size, content_type_of(path), path.rpartition("/")[2])
            case _:
                raise NotFound(f"There is no file '{path}'.")


def check_kind(kind: str) -> None:
    """Raises InvalidRequest."""
    if kind not in KINDS:
        raise InvalidRequest(f"'type' must be one of {', '.join(KINDS)}.")


def normalized(subfolder: str) -> str:
    """A subfolder as ComfyUI reads it: `./a//b/` is `a/b`."""
    folder = posixpath.normpath(subfolder).strip("/")
    return "" if folder == "." else folder


def _readings(filename: str, subfolder: str, kind: str) -> list[tuple[str, str]]:
    """(kind, path below it) of each file that the names may mean: a file may be called `x [output]`.

    Raises InvalidPath, InvalidRequest.
    """
    match = _ANNOTATED.fullmatch(filename)
    if match is None:
        return [_reading(filename, subfolder, kind)]
    found = [_reading(match[1], subfolder, match[2])]
    with contextlib.suppress(InvalidPath):  # the longest names have no room for it
        found.insert(0, _reading(filename, subfolder, kind))
    return found


def _reading(filename: str, subfolder: str, kind: str) -> tuple[str, str]:
    check_kind(kind)
    path = "/".join(part for part in (normalized(subfolder), filename) if part)
    if not filename or filename.startswith("/"):
        raise InvalidPath("The file has no name, or one that begins with a slash.")
    check_segments(path)
    return kind, path


def _run_file(conn: Connection, account_id: str, kind: str, path: str, workflow_id: str | None) -> Content:
    """An output or a preview of a run, if need be of one workflow only. Raises NotFound."""
    found = runs.file(conn, account_id, kind, path, workflow_id)
    return Content(found.digest, found.size, found.content_type, path.rpartition("/")[2])
