"""Operations on webhook deliveries: rows written in the transaction of a change, and sent afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, TextClause, delete, exists, func, insert, select, text, update

from comfyward.errors import NotFound
from comfyward.ids import new_id
from comfyward.runs.address import origin_of, parse_address
from comfyward.runs.run import Run
from comfyward.store.rows import text_of
from comfyward.store.schema import accounts, webhook_deliveries

DeliveryState = Literal["pending", "delivered", "failed"]

# After this many error responses (about two minutes) a delivery no longer holds up the later ones of its run. Responses
# of a receiver that is down do not count.
REFUSED_ENOUGH = 6
DOWN_STATUSES = (429, 502, 503, 504)
MAX_RECEIVER = 300
UNLIMITED = 1 << 30
FORMER_FIELDS = {"face": "submitted_via", "shown": "node_results"}  # of snapshots, by their former name


@dataclass(frozen=True)
class Delivery:
    """A message to a URL."""

    id: str
    account_id: str
    run_id: str
    seq: int  # the number of the run's event: its deliveries are sent in this order
    event: str
    url: str
    receiver: str  # the host behind the URL
    state: str
    attempts: int
    next_attempt_at: int | None
    last_status: int | None
    last_answer: str | None
    created_at: int
    finished_at: int | None


@dataclass(frozen=True)
class DueDelivery:
    """A delivery with what it sends, and the secrets that sign it (two for a while after a rotation)."""

    delivery: Delivery
    run: Run  # as it was when the event happened
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Room:
    """The deliveries that may be sent beside those being sent now.

    Left out are the runs of these, and the (account, receiver) pairs at their limit. `left` is the number of further
    deliveries of each account, and `left_of_others` that of every account without deliveries.
    """

    runs: frozenset[str] = frozenset()
    receivers: frozenset[tuple[str, str]] = frozenset()
    left: Mapping[str, int] = field(default_factory=dict)
    left_of_others: int = UNLIMITED

    def of(self, account_id: str) -> int:
        return self.left.get(account_id, self.left_of_others)


_earlier = webhook_deliveries.alias("earlier")
_later = webhook_deliveries.alias("later")
# As text, so that a database may use the indexes of pending deliveries.
_IS_PENDING = text("webhook_deliveries.state = 'pending'")
_EARLIER_IS_PENDING = text("earlier.state = 'pending'")

_COLUMNS = [webhook_deliveries.c[name] for name in Delivery.__dataclass_fields__]
_SECRETS = (accounts.c.webhook_secret, accounts.c.former_webhook_secret, accounts.c.former_webhook_secret_until)
_WITH_RUN = select(*_COLUMNS, webhook_deliveries.c.snapshot, *_SECRETS).join(
    accounts, accounts.c.id == webhook_deliveries.c.account_id
)


def add(conn: Connection, run: Run, event: str, now: int) -> None:
    """Adds a delivery of the run as it is now, if it has a webhook."""
    if run.webhook is None:
        return
    conn.execute(
        insert(webhook_deliveries).values(
            id=f"msg_{new_id()}",
            account_id=run.account_id,
            run_id=run.id,
            seq=run.event_seq,
            event=event,
            url=run.webhook,
            receiver=receiver_of(run.webhook),
            snapshot=text_of(run),
            state="pending",
            next_attempt_at=now,
            created_at=now,
        )
    )
    _give_up_refused(conn, run.id, now)


def due(conn: Connection, now: int, room: Room) -> list[DueDelivery]:
    """Deliveries of each account that are due, its oldest first; only the earliest pending one of each run."""
    found: list[DueDelivery] = []
    for account_id in _waiting_accounts(conn, room):
        query = _WITH_RUN.where(*_next_of_runs(account_id, room), webhook_deliveries.c.next_attempt_at <= now)
        oldest = query.order_by(webhook_deliveries.c.next_attempt_at).limit(room.of(account_id))
        found += [_due(row, now) for row in conn.execute(oldest)]
    return found


def get(conn: Connection, account_id: str, delivery_id: str, now: int) -> DueDelivery:
    """A delivery of the account, with its content. Raises NotFound."""
    own = (webhook_deliveries.c.id == delivery_id, webhook_deliveries.c.account_id == account_id)
    row = conn.execute(_WITH_RUN.where(*own)).first()
    if row is None:
        raise NotFound(f"There is no delivery '{delivery_id}'.")
    return _due(row, now)


def count_waiting(conn: Connection) -> int:
    """The number of pending deliveries."""
    query = select(func.count()).select_from(webhook_deliveries).where(webhook_deliveries.c.state == "pending")
    return int(conn.scalar(query) or 0)


def next_due(conn: Connection, room: Room) -> int | None:
    """The time at which the next delivery that `due` would return is due (ms since the epoch)."""
    times = list[int]()
    for account_id in _waiting_accounts(conn, room):
        query = select(webhook_deliveries.c.next_attempt_at).where(*_next_of_runs(account_id, room))
        times += conn.scalars(query.order_by(webhook_deliveries.c.next_attempt_at).limit(1))
    return min(times, default=None)


def record(
    conn: Connection,
    tried: Delivery,
    *,
    state: DeliveryState,
    status: int | None,
    answer: str | None,
    next_attempt_at: int | None,
    now: int,
) -> None:
    """Records an attempt's result, unless the delivery was resent meanwhile."""
    as_it_was = (webhook_deliveries.c[name] == getattr(tried, name) for name in ("id", "attempts", "created_at"))
    conn.execute(
        update(webhook_deliveries)
        .where(*as_it_was)
        .values(
            state=state,
            attempts=tried.attempts + 1,
            last_status=status,
            last_answer=answer,
            next_attempt_at=next_attempt_at,
            finished_at=None if state == "pending" else now,
        )
    )
    if state == "pending":
        _give_up_refused(conn, tried.run_id, now)


def find(conn: Connection, account_id: str, run_id: str | None, limit: int) -> list[Delivery]:
    """The account's deliveries, newest first."""
    query = select(*_COLUMNS).where(webhook_deliveries.c.account_id == account_id)
    if run_id:
        query = query.where(webhook_deliveries.c.run_id == run_id)
    newest_first = (webhook_deliveries.c.created_at.desc(), webhook_deliveries.c.seq.desc())
    return [_delivery(row) for row in conn.execute(query.order_by(*newest_first).limit(limit))]


def resend(conn: Connection, account_id: str, delivery_id: str, now: int) -> None:
    """Makes a delivery due now, with a fresh day of attempts, together with those it waits for. Raises NotFound."""
    own = (webhook_deliveries.c.id == delivery_id, webhook_deliveries.c.account_id == account_id)
    again = {"state": "pending", "next_attempt_at": now, "finished_at": None, "attempts": 0, "created_at": now}
    query = update(webhook_deliveries).where(*own).values(again)
    found = conn.execute(query.returning(webhook_deliveries.c.run_id, webhook_deliveries.c.seq)).first()
    if found is None:
        raise NotFound(f"There is no delivery '{delivery_id}'.")
    waited_for = (webhook_deliveries.c.run_id == found.run_id, webhook_deliveries.c.seq < found.seq)
    conn.execute(
        update(webhook_deliveries)
        .where(*waited_for, webhook_deliveries.c.state == "pending")
        .values(next_attempt_at=now)
    )


def prune(conn: Connection, finished_before: int, limit: int = 5000) -> int:
    """Deletes the deliveries that ended before a time, with the runs that they show. Returns how many."""
    old = select(webhook_deliveries.c.id).where(webhook_deliveries.c.finished_at < finished_before).limit(limit)
    return conn.execute(delete(webhook_deliveries).where(webhook_deliveries.c.id.in_(old))).rowcount


def receiver_of(url: str) -> str:
    """The scheme, host and port of a webhook's URL."""
    return origin_of(parse_address(url).url)[:MAX_RECEIVER]


def _waiting_accounts(conn: Connection, room: Room) -> list[str]:
    """The accounts with pending deliveries, of which some may be sent."""
    pending = select(webhook_deliveries.c.account_id).where(_IS_PENDING).distinct()
    return [account_id for account_id in conn.scalars(pending) if room.of(account_id) > 0]


def _next_of_runs(account_id: str, room: Room) -> list[ColumnElement[bool] | TextClause]:
    """The conditions for the earliest pending delivery of each run of an account, without those left out."""
    earlier = (_earlier.c.run_id == webhook_deliveries.c.run_id, _earlier.c.seq < webhook_deliveries.c.seq)
    return [
        _IS_PENDING,
        webhook_deliveries.c.account_id == account_id,
        webhook_deliveries.c.receiver.not_in([receiver for of, receiver in room.receivers if of == account_id]),
        webhook_deliveries.c.run_id.not_in(room.runs),
        ~exists().where(*earlier, _EARLIER_IS_PENDING),
    ]


def _give_up_refused(conn: Connection, run_id: str, now: int) -> None:
    """Gives up deliveries refused REFUSED_ENOUGH times, if a later one of the run waits for them."""
    later = (_later.c.run_id == run_id, _later.c.seq > webhook_deliveries.c.seq, _later.c.state == "pending")
    conn.execute(
        update(webhook_deliveries)
        .where(
            webhook_deliveries.c.run_id == run_id,
            webhook_deliveries.c.state == "pending",
            webhook_deliveries.c.attempts >= REFUSED_ENOUGH,
            webhook_deliveries.c.last_status.is_not(None),
            webhook_deliveries.c.last_status.not_in(DOWN_STATUSES),
            exists().where(*later),
        )
        .values(state="failed", next_attempt_at=None, finished_at=now)
    )


def _due(row: Row[*tuple[Any, ...]], now: int) -> DueDelivery:
    former_is_good = row.former_webhook_secret is not None and row.former_webhook_secret_until > now
    secrets = (row.webhook_secret, row.former_webhook_secret) if former_is_good else (row.webhook_secret,)
    return DueDelivery(_delivery(row), _snapshot(row.snapshot), secrets)


def _delivery(row: Row[*tuple[Any, ...]]) -> Delivery:
    return Delivery(**{name: getattr(row, name) for name in Delivery.__dataclass_fields__})


def _snapshot(text: str) -> Run:
    """The run as it was. A delivery may have been waiting since before a field was renamed."""
    values = msgspec.json.decode(text)
    for former, name in FORMER_FIELDS.items():
        if former in values:
            values[name] = values.pop(former)
    return msgspec.convert(values, Run)
