"""Operations on remote fleets: the last report of each about its pools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from comfyward.store.rows import text_of
from comfyward.store.schema import fleets


@dataclass(frozen=True)
class FleetRow:
    """A fleet's last report. `pools` holds a fleet.protocol.PoolReport by pool name."""

    name: str
    pools: dict[str, dict[str, Any]]
    seen_at: int


def put(conn: Connection, fleet: FleetRow) -> None:
    conn.execute(delete(fleets).where(fleets.c.name == fleet.name))
    conn.execute(insert(fleets).values(name=fleet.name, pools=text_of(fleet.pools), seen_at=fleet.seen_at))


def find(conn: Connection, seen_after: int) -> list[FleetRow]:
    """Fleets that have reported since a time, by name."""
    query = select(fleets).where(fleets.c.seen_at >= seen_after).order_by(fleets.c.name)
    return [FleetRow(row.name, msgspec.json.decode(row.pools), row.seen_at) for row in conn.execute(query)]
