"""The files that an account can use by name, with their bytes: its own, and those that an admin shares."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection

from comfyward.store import shared_files
from comfyward.store.files import StoredFile, at, find, get, new_file
from comfyward.store.shared_files import SharedFile


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
