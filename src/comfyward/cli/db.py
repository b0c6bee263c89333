"""comfyward db"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy import Connection, Engine, func, select

from comfyward.cli import installation
from comfyward.cli.database import open_database
from comfyward.cli.groups import Group
from comfyward.cli.options import data_dir_option, settings_from
from comfyward.dispatch.named_secrets import NamedSecrets
from comfyward.files.encryption_keys import EncryptionKeys
from comfyward.files.model_sites import ModelSites
from comfyward.store import backends, copying, postgres, revision
from comfyward.store.schema import metadata
from comfyward.wording import plural


@click.group("db", cls=Group)
def command() -> None:
    """Upgrade, check and copy the database.

    The database is that of COMFYWARD_DATABASE_URL, or else SQLite in the data directory.

    \b
    comfyward db upgrade
    comfyward db copy postgresql://user:password@host/comfyward
    """


@command.command("upgrade")
@data_dir_option
def upgrade(data_dir: Path | None) -> None:
    """Migrate the tables to this version, once for all servers. An empty database gets new tables.

    \b
    comfyward db upgrade
    """
    settings = settings_from(data_dir=data_dir)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _engine(settings.derived_database_url()) as engine:
        before = _revision(engine)
        _upgrade(engine)
        after = _revision(engine)
    if before is None:
        click.echo(f"Created a new database at revision {after}.")
    elif before == after:
        click.echo(f"The database is at revision {after} already.")
    else:
        click.echo(f"Upgraded the database from revision {before} to {after}.")


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@data_dir_option
def check(as_json: bool, data_dir: Path | None) -> None:
    """Check that the database is reachable and of this version, and count its rows.

    \b
    comfyward db check
    """
    with open_database(data_dir) as db:
        rows = asyncio.run(db.read(_count))
    answer = {"revision": revision.newest(), "shared": db.is_shared, "rows": rows}
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"The database is reachable and at revision {answer['revision']}.")
    for table, count in rows.items():
        click.echo(f"  {table:22} {count:>12,}")


@command.command("copy")
@click.argument("target")
@data_dir_option
def copy(target: str, data_dir: Path | None) -> None:
    """Copy everything into another, empty database, and verify the copy.

    Stop the servers first: rows written during the copy are missed. Stored files are not in the database; copy the
    folder `objects` of the data directory into the bucket with any S3 tool, with unchanged names.

    \b
    comfyward db copy postgresql://user:password@host/comfyward
    """
    settings = settings_from(data_dir=data_dir)
    installation.check(settings)
    with _engine(settings.derived_database_url()) as source, _engine(target) as into:
        _upgrade(into)
        with source.connect() as read, into.connect() as write, _bars() as bars, write.begin():
            copied = copying.copy_database(read, write, bars)
    rows = sum(table.rows for table in copied.values())
    click.echo(f"Copied and verified {plural(rows, 'row')} in {plural(len(copied), 'table')}.")


@command.command("new-key")
@click.option("--forget-old", is_flag=True, help="Remove the older keys, once nothing in the database needs them.")
@data_dir_option
def new_key(forget_old: bool, data_dir: Path | None) -> None:
    """Make a new key for accounts' secrets, and encrypt all of them with it. Servers may go on meanwhile.

    The keys are in the file COMFYWARD_SECRET_KEYS_FILE, or else secret.keys of the data directory. Servers of one
    database need the same file. Backups of the database need the keys of their time.

    \b
    comfyward db new-key
    """
    settings = settings_from(data_dir=data_dir)
    keys = EncryptionKeys(settings.derived_secret_keys_file())
    with open_database(data_dir) as db:
        secrets = NamedSecrets(db, keys, ModelSites())
        keys.add()
        done = asyncio.run(secrets.encrypt_again())
        lost = asyncio.run(secrets.unreadable())
    click.echo(f"Encrypted {plural(done, 'secret')} with a new key, the first in {keys.path}.")
    if lost:
        message = f"Warning: {plural(len(lost), 'secret')} cannot be read: the keys that encrypted them are not there."
        click.secho(message, fg="yellow", err=True)
    elif forget_old:
        click.echo(f"Removed {plural(keys.keep_newest(), 'older key')}.")


@contextlib.contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = backends.open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _upgrade(engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        postgres.upgrade(engine)
    else:
        revision.upgrade(engine)


def _revision(engine: Engine) -> str | None:
    with engine.connect() as conn:
        return revision.present(conn)


def _count(conn: Connection) -> dict[str, int]:
    tables = metadata.sorted_tables
    return {table.name: conn.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


@contextlib.contextmanager
def _bars() -> Iterator[Any]:
    columns = (TextColumn("{task.description:22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        tasks: dict[str, TaskID] = {}

        def show(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = progress.add_task(table, total=total)
            progress.update(tasks[table], completed=done, total=total)

        yield show
