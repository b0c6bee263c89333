"""Operations on remote fleets: the last report of each about its pools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from comfyward.store.rows import text_of
from comfyward.store.schema import fleets, worker_tokens


@dataclass(frozen=True)
class FleetRow:
    """A fleet's last report. `pools` holds a fleet.protocol.PoolReport by pool name; `token` is a hash."""

    name: str
    pools: dict[str, dict[str, Any]]
    seen_at: int
    token: str = ""


def put(conn: Connection, fleet: FleetRow) -> None:
    conn.execute(delete(fleets).where(fleets.c.name == fleet.name))
    conn.execute(insert(fleets).values(**{**fleet.__dict__, "pools": text_of(fleet.pools)}))


def is_held_by_another(conn: Connection, name: str, token_hash: str, seen_after: int) -> bool:
    """True if a fleet of this name reports with another token, which is not revoked."""
    held = (
        select(fleets.c.name)
        .join(worker_tokens, worker_tokens.c.hash == fleets.c.token)
        .where(fleets.c.name == name, fleets.c.token != token_hash, fleets.c.seen_at >= seen_after)
        .where(worker_tokens.c.revoked_at.is_(None))
    )
    return conn.execute(held).first() is not None


def find(conn: Connection, seen_after: int) -> list[FleetRow]:
    """Fleets that have reported since a time, by name."""
    query = select(fleets).where(fleets.c.seen_at >= seen_after).order_by(fleets.c.name)
    return [FleetRow(row.name, msgspec.json.decode(row.pools), row.seen_at, row.token) for row in conn.execute(query)]
