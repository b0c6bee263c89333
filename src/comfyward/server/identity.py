"""The identity of a server: for its workers, for other servers on its database, and for its first admin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from comfyward.ids import new_id
from comfyward.settings import Settings
from comfyward.store import accounts, sessions, tokens
from comfyward.store.db import Database, now_ms

LOCAL_TOKEN_NAME = "local fleet"  # noqa: S105  a token's name


@dataclass(frozen=True)
class Identity:
    """`link_secret` signs links to files. `worker_token` lets workers of the local fleet join: a new one in each life,
    None without such a fleet.

    Ids of local workers begin with `worker_id_prefix`, by which servers on one database tell theirs apart.
    """

    link_secret: str
    worker_id_prefix: str
    worker_token: str | None


@dataclass(frozen=True)
class FirstEntry:
    """The admin's key and one-time link, shown at the first start only; None later."""

    key: str | None = None
    link: str | None = None

    def login_url(self, server_url: str) -> str | None:
        return f"{server_url.rstrip('/')}/enter/{self.link}" if self.link else None


async def identity_of(db: Database, settings: Settings) -> Identity:
    prefix = f"local-{_server_id(settings.data_dir)}-" if db.is_shared else "local-"
    name = f"{LOCAL_TOKEN_NAME} {prefix}"
    await db.write(tokens.revoke, name, now_ms())
    return Identity(
        link_secret=await db.write(accounts.secret, "links"),
        worker_id_prefix=prefix,
        worker_token=await db.write(_own_token, name) if settings.fleet == "local" else None,
    )


async def first_entry(db: Database) -> FirstEntry:
    """Makes the admin on the first start."""
    admin, is_new = await db.write(accounts.ensure_admin, now_ms())
    if not is_new:
        return FirstEntry()
    key = await db.write(accounts.create_key, admin.id, "first key", now_ms())
    return FirstEntry(key, await db.write(sessions.offer_link, admin.id, now_ms(), sessions.LINK_LASTS_MS))


def _own_token(conn: Connection, name: str) -> str:
    return tokens.create(conn, name, now_ms(), made_by=tokens.SERVER)


def _server_id(data_dir: Path) -> str:
    path = data_dir / "server.id"
    if not path.exists():
        path.write_text(new_id()[:8])
    return path.read_text()
