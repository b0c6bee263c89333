"""Operations that queue a new run: its place in the order of its pool, and the key under which it is made once."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Connection,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)

from comfyward.accounts.storage import counted
from comfyward.errors import Conflict, IdempotencyKeyUsed, IdempotencyMismatch, MissingAsset, QueueFull
from comfyward.runs.run import AcceptedRun, Api, State
from comfyward.store import blobs
from comfyward.store.rows import text_of
from comfyward.store.runs import add_blob_uses
from comfyward.store.schema import IS_HANDED_OUT, IS_QUEUED, accounts, queue_lengths, runs
from comfyward.store.statement import Answer, Question, Statement, larger_of
from comfyward.store.writers import MAX_SHARED

LATEST_TURN = 2**62
TURN = 1000  # distance between two runs of an account of weight 1
UNLIMITED = 2**31
LARGE_CHARACTERS = 1 << 18  # of a run whose values are made by the thread that writes it
RETRY_AFTER_S = 5
KEY_LASTS_MS = 24 * 3600 * 1000  # lifetime of an Idempotency-Key in Comfy API v2
# Not max(): on a table that it believes to be small, PostgreSQL reads the whole index for it.
_LAST_SERVED = (
    select(runs.c.turn)
    .where(IS_HANDED_OUT, runs.c.pool == bindparam("pool"))
    .order_by(runs.c.turn.desc())
    .limit(1)
    .scalar_subquery()
)
# One step of the one index that has this order. With an account and a pool that are equal to these, PostgreSQL may take
# another index, as long as it has no statistics, and read all runs of the account.
_TURNS = (runs.c.account_id, runs.c.pool, runs.c.turn)
_UP_TO_OWN_LAST = (
    select(*_TURNS)
    .where(tuple_(*_TURNS) <= tuple_(bindparam("account_id"), bindparam("pool"), literal(LATEST_TURN, BigInteger)))
    .order_by(*(each.desc() for each in _TURNS))
    .limit(1)
    .subquery("up_to_own_last")
)
_OWN_LAST = (
    select(_UP_TO_OWN_LAST.c.turn)
    .where(_UP_TO_OWN_LAST.c.account_id == bindparam("account_id"), _UP_TO_OWN_LAST.c.pool == bindparam("pool"))
    .scalar_subquery()
)
_parts = queue_lengths.alias("parts")
# With those that this transaction has queued: PostgreSQL counts them at its end.
_IN_QUEUES = select(func.coalesce(func.sum(_parts.c.length), 0) + MAX_SHARED).scalar_subquery()
_OWN_WAITING = select(runs.c.account_id).where(
    runs.c.account_id == bindparam("account_id"), runs.c.finished_at.is_(None), IS_QUEUED
)
# An account's queued runs are counted only while all queues together have as many as it may have.
_IS_FULL = case((bindparam("others") < _IN_QUEUES, _OWN_WAITING.limit(1).offset(bindparam("others")).scalar_subquery()))
# A new run's turn in its pool: after the account's last one, and not before the one served now. This is start-time fair
# queueing: accounts with queued runs take turns in proportion to their weights, however many runs each has queued; an
# account earns no turns while it has none.
_WEIGHT = select(accounts.c.weight).where(accounts.c.id == bindparam("account_id")).scalar_subquery()
_STEP = cast(func.round(TURN / func.coalesce(_WEIGHT, 1.0)), BigInteger)
_NEXT_TURN = larger_of(func.coalesce(_OWN_LAST + _STEP, 0), func.coalesce(_LAST_SERVED, 0))


@dataclass(frozen=True, kw_only=True)
class NewRun(AcceptedRun):
    """A run to be queued, with the Idempotency-Key of its request, and the digest by which that is known again."""

    idempotency_key: str | None
    request_digest: str | None


_WRITTEN = [*NewRun.__dataclass_fields__, "state", "event_seq", "queued_at", "updated_at", "request_bytes"]
_ROW = select(*(bindparam(name, type_=runs.c[name].type) for name in _WRITTEN), _NEXT_TURN).where(_IS_FULL.is_(None))
_INSERT = Statement(insert(runs).from_select([*_WRITTEN, "turn"], _ROW, include_defaults=False))


def adding(new: NewRun, max_waiting: int) -> Question | None:
    """The statement that `add` begins with; None if that depends on what was stored before, or if the run is large."""
    is_looked_for = new.idempotency_key is not None or new.submitted_via is Api.NATIVE
    is_large = len(new.prompt) + len(new.extra_data or "") > LARGE_CHARACTERS
    return None if is_looked_for or is_large else _inserting(new, max_waiting)


def add(conn: Connection, new: NewRun, max_waiting: int = UNLIMITED, *, added: Answer | None = None) -> str:
    """Inserts a queued run, reserves its first event's number, and returns its id. `added` answers `adding`.

    A repeated Idempotency-Key returns the first run's id instead.
    Raises IdempotencyMismatch if the key came with another request, Conflict if the prompt id is taken, QueueFull if
    the account has `max_waiting` queued runs, and MissingAsset if a file is being removed.
    """
    if added is None and (before := _made_before(conn, new)) is not None:
        return before
    if added is None:
        added = _inserting(new, max_waiting).ask(conn)
    if not added.rowcount:
        raise QueueFull(f"You already have {max_waiting} queued runs.", retry_after_s=RETRY_AFTER_S)
    used = {source["blob"]: int(source["size"]) for source in new.files.values() if "blob" in source}
    for digest in sorted(used):
        if not blobs.touch(conn, digest, new.created_at):
            raise MissingAsset("A file of the run is being deleted.")
    add_blob_uses(conn, new.account_id, new.id, used)
    return new.id


def _made_before(conn: Connection, new: NewRun) -> str | None:
    """The id of the run that was made with a new run's Idempotency-Key. Raises IdempotencyMismatch and Conflict."""
    if new.idempotency_key is not None and (found := with_key(conn, new.account_id, new.idempotency_key)):
        if found.request_digest != new.request_digest:
            raise IdempotencyMismatch("This Idempotency-Key was used with a different request.")
        return found.run_id
    if new.submitted_via is Api.NATIVE and is_prompt_id_taken(conn, new.account_id, new.prompt_id):
        raise Conflict(f"A run with the prompt id '{new.prompt_id}' already exists.", hint="Leave prompt_id out.")
    return None


def _inserting(new: NewRun, max_waiting: int) -> Question:
    values = {
        **new.__dict__,
        **{name: text_of(getattr(new, name)) for name in ("files", "models", "metadata", "tags", "labels")},
        "state": State.QUEUED,
        "event_seq": 1,
        "queued_at": new.created_at,
        "updated_at": new.created_at,
    }
    texts = (values[name] for name in ("prompt", "extra_data", "files", "models", "metadata"))
    values["request_bytes"] = counted(sum(len(text.encode()) for text in texts if text)) or None
    return Question(_INSERT, {**values, "others": max_waiting - 1})


@dataclass(frozen=True)
class KeyUse:
    """The run created with an Idempotency-Key."""

    run_id: str
    request_digest: str | None
    created_at: int


def with_key(conn: Connection, account_id: str, key: str) -> KeyUse | None:
    query = select(runs.c.id, runs.c.request_digest, runs.c.created_at)
    row = conn.execute(query.where(runs.c.account_id == account_id, runs.c.idempotency_key == key)).first()
    return KeyUse(*row) if row else None


def claim_key(conn: Connection, account_id: str, key: str, now: int) -> None:
    """Frees an Idempotency-Key whose lifetime is over. Raises IdempotencyKeyUsed if it is not."""
    found = with_key(conn, account_id, key)
    if found is None:
        return
    if found.created_at > now - KEY_LASTS_MS:
        raise IdempotencyKeyUsed("This Idempotency-Key was used before.")
    used = and_(runs.c.account_id == account_id, runs.c.idempotency_key == key)
    conn.execute(update(runs).where(used).values(idempotency_key=None))


def is_prompt_id_taken(conn: Connection, account_id: str, prompt_id: str) -> bool:
    query = select(runs.c.id).where(runs.c.account_id == account_id, runs.c.prompt_id == prompt_id)
    return conn.scalar(query) is not None
