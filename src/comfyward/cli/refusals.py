"""Refusals of the system to a command: files, folders and the database's file."""

from __future__ import annotations

import sqlite3

HINT = "Is the folder there, may this user write to it, and has the disk room?"
_OF_THE_FILE = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY),
}


def refusal_of(error: Exception) -> str | None:
    """The sentence on a refusal; None for any other error, which is a fault of ours and keeps its traceback."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}." if error.filename and error.strerror else None
    cause = getattr(error, "orig", error)  # SQLAlchemy's errors have the driver's
    if isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) & 0xFF in _OF_THE_FILE:
        return f"The database cannot be used: {cause}."
    return None
