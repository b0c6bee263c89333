"""comfyward tokens"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from comfyward.cli.options import data_dir_option, open_database
from comfyward.store import accounts
from comfyward.store.db import now_ms


@click.group("tokens")
def command() -> None:
    """Create and revoke tokens with which workers join."""


@command.command("create")
@click.argument("name")
@data_dir_option
def create(name: str, data_dir: Path | None) -> None:
    """Create a worker token and print it. It is shown this once.

    \b
    comfyward tokens create gpu-box
    """
    with open_database(data_dir) as db:
        click.echo(asyncio.run(db.write(accounts.create_worker_token, name, now_ms())))


@command.command("revoke")
@click.argument("name")
@data_dir_option
def revoke(name: str, data_dir: Path | None) -> None:
    """Revoke the tokens of a name; workers that use them stop within seconds."""
    with open_database(data_dir) as db:
        revoked = asyncio.run(db.write(accounts.revoke_worker_tokens, name, now_ms()))
    click.echo(f"Revoked {revoked} token(s) named {name}.")
