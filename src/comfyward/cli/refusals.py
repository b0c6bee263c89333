"""Refusals of the system to a command: files, folders and the database's file."""

from __future__ import annotations

import errno
import sqlite3
from dataclasses import dataclass

_LOOK = "Is the folder there, may this user write to it, and has the disk room?"
_WAIT = "Another process holds it. Try again in a moment."
_OF_FILES = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
}
_OF_THE_FILE = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY),
}


@dataclass(frozen=True)
class Refusal:
    """The words on a refusal: a sentence each, or two."""

    message: str
    hint: str


def refusal_of(error: Exception) -> Refusal | None:
    """The refusal that an error is; None for any other error, which is a fault of ours and keeps its traceback."""
    if isinstance(error, OSError):
        is_of_a_file = error.filename and error.errno in _OF_FILES
        return Refusal(f"{error.filename}: {error.strerror}.", _LOOK) if is_of_a_file else None
    cause = getattr(error, "orig", error)  # SQLAlchemy's errors have the driver's
    if not isinstance(cause, sqlite3.Error):
        return None
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    hint = _WAIT if code == sqlite3.SQLITE_BUSY else _LOOK
    return Refusal(f"The database cannot be used: {cause}.", hint) if code in _OF_THE_FILE else None
