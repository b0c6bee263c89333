"""Operations on what accounts store, and on their own limits. Bytes that have several names count once."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import BindParameter, Connection, bindparam, case, func, select, text, update

from comfyward.accounts.storage import Stored, kind_of, over
from comfyward.paths import MODELS_ROOT
from comfyward.store import row_limits
from comfyward.store.rows import text_of
from comfyward.store.schema import IS_LARGE, accounts, blob_uses, files, runs, uploads
from comfyward.store.statement import Statement

_account: BindParameter[str] = bindparam("account_id")
_IS_NAMED = text("files.run_id IS NULL")
_is_model = case((files.c.path.startswith(MODELS_ROOT), 1), else_=0).label("is_model")
_each_file = (
    select(_is_model, files.c.digest, files.c.size)
    .where(files.c.account_id == _account, _IS_NAMED)
    .distinct()
    .subquery()
)
_FILES = Statement(select(_each_file.c.is_model, func.sum(_each_file.c.size)).group_by(_each_file.c.is_model))
_each_use = (
    select(blob_uses.c.digest, blob_uses.c.size)
    .where(
        blob_uses.c.account_id == _account,
        ~select(files.c.digest)
        .where(files.c.account_id == _account, files.c.digest == blob_uses.c.digest, _IS_NAMED)
        .exists(),
    )
    .distinct()
    .subquery()
)
_OF_RUNS = Statement(select(func.sum(_each_use.c.size)))
_OF_REQUESTS = Statement(select(func.sum(runs.c.request_bytes)).where(runs.c.account_id == _account, IS_LARGE))
_UNFINISHED = Statement(
    select(func.count(), func.coalesce(func.sum(uploads.c.size), 0)).where(uploads.c.account_id == _account)
)


def stored(conn: Connection, account_id: str) -> Stored:
    """All that an account stores."""
    count, announced = unfinished(conn, account_id)
    return Stored(**of_files(conn, account_id), outputs=of_runs(conn, account_id), unfinished=announced, uploads=count)


def of_files(conn: Connection, account_id: str) -> dict[str, int]:
    """The bytes of an account's files, by the limit that they count toward."""
    found = {bool(is_model): int(total) for is_model, total in _FILES(conn, account_id=account_id)}
    return {"inputs": found.get(False, 0), "models": found.get(True, 0)}


def of_runs(conn: Connection, account_id: str) -> int:
    """The bytes that the account's runs keep and that are no files of the account."""
    results = _OF_RUNS(conn, account_id=account_id).scalar() or 0
    return int(results) + int(_OF_REQUESTS(conn, account_id=account_id).scalar() or 0)


def unfinished(conn: Connection, account_id: str) -> tuple[int, int]:
    """(number of unfinished uploads, bytes announced)."""
    row = _UNFINISHED(conn, account_id=account_id).first()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def hold(conn: Connection, account_id: str) -> None:
    """Lets no other transaction count what this account stores until this one has ended."""
    conn.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update(key_share=True))


def check_file(conn: Connection, account_id: str, path: str, digest: str, size: int, most: int) -> None:
    """Raises OverQuota if a file with bytes new to the account would exceed `most` of its kind (0: no limit), and
    Conflict if the account has too many files."""
    if not most:
        return
    hold(conn, account_id)
    own_files = (files.c.account_id == account_id, _IS_NAMED)
    row_limits.check(conn, files, row_limits.FILES, "files", "Delete some.", *own_files)
    kind = kind_of(path)
    used = of_files(conn, account_id)[kind]
    own = select(files.c.path).where(files.c.account_id == account_id, files.c.digest == digest, _IS_NAMED)
    if used + size > most and kind not in map(kind_of, conn.scalars(own)):
        raise over(kind, used, most, size)


def set_limits(conn: Connection, account_id: str, limits: Mapping[str, int | None]) -> None:
    """Sets some of an account's own limits (0: any amount). None removes one: it is the server's again."""
    row = conn.execute(select(accounts.c.storage_limits).where(accounts.c.id == account_id)).one()
    own = {name: most for name, most in {**own_limits(row[0]), **limits}.items() if most is not None}
    conn.execute(update(accounts).where(accounts.c.id == account_id).values(storage_limits=text_of(own)))


def own_limits(storage_limits: str) -> dict[str, int]:
    """The limits in an account's row."""
    return msgspec.json.decode(storage_limits, type=dict[str, int])
