"""The files that an account can use by name, with their bytes: its own, and those that an admin shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Text,
    bindparam,
    column,
    literal_column,
    select,
    union_all,
)

from comfyward.runs.files import Source, Stored, source_from_row
from comfyward.store import shared_files
from comfyward.store.files import IS_REPLACED, StoredFile, at, find, get, new_file, newest_of
from comfyward.store.schema import files, links
from comfyward.store.shared_files import SharedFile
from comfyward.store.statement import Statement, bytewise, each_of, in_order, list_of

_PATHS = each_of(bindparam("paths", type_=Text)).table_valued(column("value", Text), name="named")
_FOLDERS = each_of(bindparam("folders", type_=Text)).table_valued(column("value", Text), name="named")
_NONE: ColumnElement[str] = literal_column("''")
_NOTHING: ColumnElement[int] = literal_column("0")


def _is_below(path: Column[str]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The condition that a path is below a named folder ("0" is the character after "/")."""
    place, folder = bytewise(path), _FOLDERS.c.value
    return place >= folder.concat("/"), place < folder.concat("0")


def _links(each: FromClause, *where: ColumnElement[bool]) -> Select[Any]:
    own = (links.c.account_id == bindparam("account_id"), ~IS_REPLACED)
    place = (links.c.path, links.c.source, links.c.named_at)
    row = select(*place, _NONE.label("id"), _NONE.label("digest"), _NOTHING.label("size"))
    return row.select_from(in_order(each, links)).where(*own, *where)


def _files(each: FromClause, *where: ColumnElement[bool]) -> Select[Any]:
    place = (files.c.path, _NONE.label("source"), files.c.named_at)
    row = select(*place, files.c.id, files.c.digest, files.c.size).select_from(in_order(each, files))
    return row.where(files.c.account_id == bindparam("account_id"), *where)


# In one trip: every submission asks. Results of runs are at paths of their own, and in no folder that a graph names.
_NAMED = Statement(
    union_all(
        _links(_PATHS, links.c.path == _PATHS.c.value),
        _links(_FOLDERS, *_is_below(links.c.path)),
        _files(_PATHS, files.c.path == _PATHS.c.value),
        _files(_FOLDERS, *_is_below(files.c.path), files.c.run_id.is_(None)),
    )
)


def named(
    conn: Connection, account_id: str, paths: Collection[str], folders: Collection[str] = ()
) -> dict[str, Source]:
    """The files that an account can use at some paths and below some folders, by path.

    An upload replaces an older URL that a run brought, and either replaces what is shared.
    """
    rows = [*_NAMED(conn, account_id=account_id, paths=list_of(paths), folders=list_of(folders))]
    found: dict[str, Source] = {
        row.path: source_from_row(msgspec.json.decode(row.source)) for row in rows if row.source
    }
    for row in newest_of(row for row in rows if not row.source):
        found.setdefault(row.path, Stored(row.digest, row.size))
    for shared in shared_files.named(conn, paths, folders):
        found.setdefault(shared.path, Stored(shared.digest, shared.size))
    return found


def usable(conn: Connection, account_id: str, path: str) -> StoredFile:
    """The account's file at a path, else the one that is shared there. Raises NotFound."""
    shared = None if (own := at(conn, account_id, [path])) else shared_files.at(conn, path)
    return own[0] if own else _as_file(account_id, shared) if shared else get(conn, account_id, path)


def beside(conn: Connection, account_id: str, stem: str) -> dict[str, StoredFile]:
    """The account's files whose paths continue a text, and those that are shared there, by path."""
    shared = (each for each in shared_files.find(conn) if each.path.startswith(stem))
    named = {each.path: _as_file(account_id, each) for each in shared}
    return named | {file.path: file for file in find(conn, account_id, stem)}


def _as_file(account_id: str, shared: SharedFile) -> StoredFile:
    """A shared file as one of an account's own; it has no id."""
    file = new_file(account_id, shared.path, shared.digest, shared.size, shared.content_type, shared.shared_at)
    return dataclasses.replace(file, id="", about=shared.about)
