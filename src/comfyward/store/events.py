"""Operations on the stored events of runs. An event's number is assigned by the update of its run's row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from comfyward.runs.event import Event, read_payload
from comfyward.store import runs
from comfyward.store.rows import text_of
from comfyward.store.schema import events
from comfyward.store.schema import runs as runs_table
from comfyward.store.statement import Insertion

_ADD = Insertion(events, ("run_id", "seq", "type", "data", "created_at"))


def add(conn: Connection, new: Sequence[Event], now: int) -> None:
    """Stores numbered events."""
    _ADD.defer(
        conn,
        [
            {
                "run_id": event.run_id,
                "seq": event.seq,
                "type": event.type,
                "data": text_of(event.payload),
                "created_at": now,
            }
            for event in new
        ],
    )


def after(conn: Connection, account_id: str, run_id: str, seq: int) -> list[Event]:
    """A run's stored events after number `seq`, in order. Raises NotFound."""
    runs.state_of(conn, account_id, run_id)
    query = select(events).where(events.c.run_id == run_id, events.c.seq > seq).order_by(events.c.seq)
    return [Event(run_id, account_id, read_payload(row.type, row.data), row.seq) for row in conn.execute(query)]


def missed(conn: Connection, known: Mapping[str, int]) -> list[Event]:
    """The stored events of runs after the last known number of each (`known`, by run id), in order."""
    query = select(events, runs_table.c.account_id).join(runs_table, runs_table.c.id == events.c.run_id)
    query = query.where(events.c.run_id.in_(list(known))).order_by(events.c.run_id, events.c.seq)
    return [
        Event(row.run_id, row.account_id, read_payload(row.type, row.data), row.seq)
        for row in conn.execute(query)
        if row.seq > known[row.run_id]
    ]
