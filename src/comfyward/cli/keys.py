"""comfyward keys"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click
from sqlalchemy import Connection

from comfyward.accounts.account import Account, ApiKey
from comfyward.cli.database import open_database
from comfyward.cli.groups import Group
from comfyward.cli.options import Name, Number, Whole, data_dir_option
from comfyward.cli.tables import moment, print_table
from comfyward.store import accounts
from comfyward.store.db import now_ms

DAY_MS = 24 * 3600 * 1000

account_option = click.option("--account", help="The account that owns the key.  [default: the first admin]")


@click.group("keys", cls=Group)
def command() -> None:
    """Create, list and revoke API keys.

    \b
    comfyward keys create production
    comfyward keys list
    comfyward keys revoke production
    """


@command.command("create")
@click.argument("name", type=Name())
@account_option
@click.option("--max-running", type=Whole(min=1), help="The limit of concurrent runs made with the key.")
@click.option("--expires-in-days", type=Number(0, 36500, least_open=True), help="Days until the key expires.")
@data_dir_option
def create(
    name: str, account: str | None, max_running: int | None, expires_in_days: float | None, data_dir: Path | None
) -> None:
    """Create a key and print it. It is not shown again.

    \b
    export COMFYWARD_API_KEY=$(comfyward keys create production)
    """
    now = now_ms()
    expires_at = now + int(expires_in_days * DAY_MS) if expires_in_days else None

    def work(conn: Connection) -> str:
        return accounts.create_key(conn, _account(conn, account).id, name, now, expires_at, max_running)

    with open_database(data_dir) as db:
        click.echo(asyncio.run(db.write(work)))


@command.command("list")
@account_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@data_dir_option
def list_keys(account: str | None, as_json: bool, data_dir: Path | None) -> None:
    """List an account's keys.

    \b
    comfyward keys list
    comfyward keys list --account alice
    """
    with open_database(data_dir) as db:
        found = asyncio.run(db.write(lambda conn: accounts.keys(conn, _account(conn, account).id)))
    if as_json:
        return click.echo(json.dumps([key.__dict__ for key in found]))
    columns = ("id", "name", "starts with", "created", "last used", "state")
    rows = [
        (key.id, key.name, key.prefix, moment(key.created_at), moment(key.last_used_at), _state(key)) for key in found
    ]
    return print_table(columns, rows)


@command.command("revoke")
@click.argument("key")
@account_option
@data_dir_option
def revoke(key: str, account: str | None, data_dir: Path | None) -> None:
    """Revoke a key by its id, name or first characters. It stops working within two seconds.

    \b
    comfyward keys revoke production
    """

    def work(conn: Connection) -> ApiKey:
        return accounts.revoke_key(conn, _account(conn, account).id, key, now_ms())

    with open_database(data_dir) as db:
        revoked = asyncio.run(db.write(work))
    click.echo(f"Revoked {revoked.name} ({revoked.prefix}…).")


def _account(conn: Connection, name: str | None) -> Account:
    return accounts.by_name(conn, name) if name else accounts.ensure_admin(conn, now_ms())[0]


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now_ms() else "in use"
