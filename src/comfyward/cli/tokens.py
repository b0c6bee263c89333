"""comfyward tokens"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import click
from sqlalchemy import Connection

from comfyward.cli.database import open_database
from comfyward.cli.groups import Group
from comfyward.cli.options import Name, Number, data_dir_option
from comfyward.cli.tables import moment, print_table
from comfyward.errors import NotFound
from comfyward.store import tokens
from comfyward.store.db import now_ms
from comfyward.store.tokens import WorkerToken
from comfyward.wording import did_you_mean, plural

HOUR_MS = 3600 * 1000


@click.group("tokens", cls=Group)
def command() -> None:
    """Create, list and revoke the tokens that workers join with.

    \b
    comfyward tokens create gpu-box
    comfyward tokens revoke gpu-box
    """


@command.command("create")
@click.argument("name", type=Name())
@click.option("--pool", help="Let workers join only this pool.")
@click.option("--fleet", "is_fleet", is_flag=True, help="A token for 'comfyward fleet', which makes its workers' own.")
@click.option("--expires-in-hours", type=Number(0, 1e6, least_open=True), help="How long workers may join.")
@data_dir_option
def create(name: str, pool: str | None, is_fleet: bool, expires_in_hours: float | None, data_dir: Path | None) -> None:
    """Create a worker token and print it. It is not shown again.

    Workers that have joined stay when it expires, but stop when it is revoked.

    \b
    comfyward tokens create gpu-box
    comfyward tokens create contractor --pool L4 --expires-in-hours 8
    comfyward tokens create ray --fleet
    """
    now = now_ms()
    expires_at = now + int(expires_in_hours * HOUR_MS) if expires_in_hours else None
    with open_database(data_dir) as db:
        role: Literal["worker", "fleet"] = "fleet" if is_fleet else "worker"
        click.echo(asyncio.run(db.write(tokens.create, name, now, pool=pool, role=role, expires_at=expires_at)))


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@data_dir_option
def list_tokens(as_json: bool, data_dir: Path | None) -> None:
    """List the tokens that are not revoked.

    \b
    comfyward tokens list
    """
    with open_database(data_dir) as db:
        found = asyncio.run(db.read(tokens.find))
    if as_json:
        return click.echo(json.dumps([_shown(token) for token in found], indent=2))
    rows = [
        (
            token.name,
            f"{token.role}s",
            token.pool or "any",
            *tuple(moment(at) for at in (token.created_at, token.expires_at, token.last_used_at)),
        )
        for token in found
    ]
    return print_table(("name", "for", "pool", "created", "joins until", "last joined"), rows)


@command.command("revoke")
@click.argument("name")
@data_dir_option
def revoke(name: str, data_dir: Path | None) -> None:
    """Revoke the tokens with a name; their workers stop within seconds.

    \b
    comfyward tokens revoke gpu-box
    """

    def work(conn: Connection) -> int:
        known = {token.name for token in tokens.find(conn)}
        if name not in known:
            hint = did_you_mean(name, known, "See 'comfyward tokens list'.")
            raise NotFound(f"There is no active token named '{name}'.", hint=hint)
        return tokens.revoke(conn, name, now_ms())

    with open_database(data_dir) as db:
        revoked = asyncio.run(db.write(work))
    click.echo(f"Revoked {plural(revoked, 'token')} named {name}.")


def _shown(token: WorkerToken) -> dict[str, Any]:
    shown = dataclasses.asdict(token)
    del shown["hash"], shown["made_by"]
    return shown
