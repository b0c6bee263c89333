"""Operations on webhook deliveries: rows written with the change they tell of, and worked off by delivery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from comfyward.errors import NotFound
from comfyward.ids import new_id
from comfyward.runs.run import EndReason, Run, State
from comfyward.store.rows import text_of
from comfyward.store.schema import accounts, webhook_deliveries

DeliveryState = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True)
class Delivery:
    """One message to one URL, until it is delivered or given up."""

    id: str
    account_id: str
    run_id: str
    event: str
    url: str
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


_COLUMNS = [webhook_deliveries.c[name] for name in Delivery.__dataclass_fields__]
_SECRETS = (accounts.c.webhook_secret, accounts.c.former_webhook_secret, accounts.c.former_webhook_secret_until)
_WITH_RUN = select(*_COLUMNS, webhook_deliveries.c.snapshot, *_SECRETS).join(
    accounts, accounts.c.id == webhook_deliveries.c.account_id
)


def add(conn: Connection, run: Run, event: str, now: int) -> None:
    """Queues a delivery of the run as it is now, if its caller asked for webhooks."""
    if run.webhook is None:
        return
    conn.execute(
        insert(webhook_deliveries).values(
            id=f"msg_{new_id()}",
            account_id=run.account_id,
            run_id=run.id,
            event=event,
            url=run.webhook,
            snapshot=text_of(run),
            state="pending",
            next_attempt_at=now,
            created_at=now,
        )
    )


def due(conn: Connection, now: int, limit: int) -> list[DueDelivery]:
    """Deliveries whose time has come, oldest first."""
    query = (
        _WITH_RUN.where(webhook_deliveries.c.state == "pending", webhook_deliveries.c.next_attempt_at <= now)
        # A short run starts and ends in one millisecond: "run.started" sorts after every other event's name.
        .order_by(webhook_deliveries.c.next_attempt_at, webhook_deliveries.c.event.desc())
        .limit(limit)
    )
    return [_due(row, now) for row in conn.execute(query)]


def get(conn: Connection, account_id: str, delivery_id: str, now: int) -> DueDelivery:
    """A delivery of the account, with what it sends. Raises NotFound."""
    own = (webhook_deliveries.c.id == delivery_id, webhook_deliveries.c.account_id == account_id)
    row = conn.execute(_WITH_RUN.where(*own)).first()
    if row is None:
        raise NotFound(f"There is no delivery '{delivery_id}'.")
    return _due(row, now)


def count_waiting(conn: Connection) -> int:
    """How many deliveries are not made yet."""
    query = select(func.count()).select_from(webhook_deliveries).where(webhook_deliveries.c.state == "pending")
    return int(conn.scalar(query) or 0)


def next_due(conn: Connection) -> int | None:
    """When the next delivery is due."""
    query = select(webhook_deliveries.c.next_attempt_at).where(webhook_deliveries.c.state == "pending")
    return conn.scalar(query.order_by(webhook_deliveries.c.next_attempt_at).limit(1))


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
    """Writes down how an attempt went, unless the delivery was made due again while it was tried."""
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


def find(conn: Connection, account_id: str, run_id: str | None, limit: int) -> list[Delivery]:
    """The account's deliveries, newest first."""
    query = select(*_COLUMNS).where(webhook_deliveries.c.account_id == account_id)
    if run_id:
        query = query.where(webhook_deliveries.c.run_id == run_id)
    return [_delivery(row) for row in conn.execute(query.order_by(webhook_deliveries.c.created_at.desc()).limit(limit))]


def resend(conn: Connection, account_id: str, delivery_id: str, now: int) -> None:
    """Makes a delivery due again, with a fresh day of attempts. Raises NotFound."""
    changed = conn.execute(
        update(webhook_deliveries)
        .where(webhook_deliveries.c.id == delivery_id, webhook_deliveries.c.account_id == account_id)
        .values(state="pending", next_attempt_at=now, finished_at=None, attempts=0, created_at=now)
    )
    if changed.rowcount == 0:
        raise NotFound(f"There is no delivery '{delivery_id}'.")


def _due(row: Row[*tuple[Any, ...]], now: int) -> DueDelivery:
    former_is_good = row.former_webhook_secret is not None and row.former_webhook_secret_until > now
    secrets = (row.webhook_secret, row.former_webhook_secret) if former_is_good else (row.webhook_secret,)
    return DueDelivery(_delivery(row), _snapshot(row.snapshot), secrets)


def _delivery(row: Row[*tuple[Any, ...]]) -> Delivery:
    return Delivery(**{name: getattr(row, name) for name in Delivery.__dataclass_fields__})


def _snapshot(text: str) -> Run:
    values = msgspec.json.decode(text)
    values["state"] = State(values["state"])
    values["end_reason"] = EndReason(values["end_reason"]) if values["end_reason"] else None
    return Run(**values)
