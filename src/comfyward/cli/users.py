"""comfyward users"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.accounts.storage import LIMITS, Quota, Stored
from comfyward.cli.database import open_database
from comfyward.cli.groups import Group
from comfyward.cli.options import Name, Number, Whole, data_dir_option, settings_from
from comfyward.cli.tables import print_table
from comfyward.store import accounts, sessions, storage, workers
from comfyward.store.db import now_ms
from comfyward.wording import bytes_in, did_you_mean, plural, size


@click.group("users", cls=Group)
def command() -> None:
    """Create and list accounts, and set their limits.

    \b
    comfyward users create alice
    comfyward users link alice
    """


@command.command("create")
@click.argument("name", type=Name())
@click.option("--admin", is_flag=True, help="Make the account an admin.")
@click.option("--credit-limit", type=Number(0), help="Credits the account may use.  [default: no limit]")
@data_dir_option
def create(name: str, admin: bool, credit_limit: float | None, data_dir: Path | None) -> None:
    """Create an account.

    \b
    comfyward users create alice --credit-limit 100000
    comfyward keys create laptop --account alice
    """
    with open_database(data_dir) as db:
        role = "admin" if admin else "member"
        account = asyncio.run(db.write(accounts.create, name, role, credit_limit, now_ms()))  # type: ignore[arg-type]
    click.echo(f"Created {account.name}. Create a key for it: comfyward keys create NAME --account {account.name}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@data_dir_option
def list_users(as_json: bool, data_dir: Path | None) -> None:
    """List accounts and their usage.

    \b
    comfyward users list
    """
    with open_database(data_dir) as db:
        found = asyncio.run(db.read(accounts.find))
        used = asyncio.run(db.read(accounts.used_credits, [account.id for account in found]))
    shown = [
        {
            "name": account.name,
            "role": account.role,
            "credit_limit": account.credit_limit,
            "credits_used": used.get(account.id, 0.0),
        }
        for account in found
    ]
    if as_json:
        return click.echo(json.dumps(shown))
    rows = [
        (account.name, account.role, f"{used.get(account.id, 0.0):.1f}", _limit(account.credit_limit))
        for account in found
    ]
    return print_table(("name", "role", "credits used", "limit"), rows)


def _limit(credit_limit: float | None) -> str:
    return "-" if credit_limit is None else f"{credit_limit:g}"


@command.command("link")
@click.argument("name")
@data_dir_option
def link(name: str, data_dir: Path | None) -> None:
    """Print a one-time login link to the website, for a new account or a forgotten password.

    \b
    comfyward users link alice
    """
    now = now_ms()

    def work(conn: Connection) -> str:
        return sessions.offer_link(conn, accounts.by_name(conn, name).id, now, sessions.LINK_LASTS_MS)

    with open_database(data_dir) as db:
        token = asyncio.run(db.write(work))
    settings = settings_from(data_dir=data_dir)
    base_url = settings.public_url or f"http://{settings.host}:{settings.port}"
    click.echo(f"{base_url.rstrip('/')}/enter/{token}")


@command.command("share")
@click.argument("name")
@click.option("--weight", type=Number(0.01, 100), help="Its share; that of a new account is 1.")
@click.option("--max-running", type=Whole(min=1), help="The limit of concurrent runs.")
@click.option("--max-in", "by_pool", multiple=True, metavar="POOL=N", help="The limit in one pool; may be repeated.")
@click.option("--default", "is_default", is_flag=True, help="First the share of a new account: 1, without limits.")
@data_dir_option
def set_share(
    name: str,
    weight: float | None,
    max_running: int | None,
    by_pool: tuple[str, ...],
    is_default: bool,
    data_dir: Path | None,
) -> None:
    """Set an account's share of the GPUs while other accounts are waiting too, and its concurrent runs, or show them.

    What no option names stays as it is.

    \b
    comfyward users share alice --weight 3         # three runs for each run of another account
    comfyward users share batch --max-running 2    # never more than two at once
    comfyward users share batch --max-in H100=1    # at most one on an H100
    comfyward users share batch --default          # as a new account
    comfyward users share batch                    # show them
    """
    pools = _numbers(by_pool)

    def work(conn: Connection) -> tuple[Account, list[str]]:
        before = accounts.by_name(conn, name)
        if is_default:
            before = dataclasses.replace(before, weight=1.0, max_running=None, max_running_by_pool="{}")
        in_pools = {**json.loads(before.max_running_by_pool), **pools}
        accounts.set_share(conn, before.id, weight or before.weight, max_running or before.max_running, in_pools)
        return accounts.by_name(conn, name), sorted(workers.known_pools(conn))

    with open_database(data_dir) as db:
        account, known = asyncio.run(db.write(work))
    for pool in pools.keys() - set(known):
        text = f"Warning: no worker has joined pool {pool} yet. {did_you_mean(pool, known, '')}"
        click.secho(text.rstrip(), fg="yellow", err=True)
    most = account.max_running
    at_once = "any number of runs" if most is None else f"at most {plural(most, 'run')}"
    single = "".join(f", {number} in {pool}" for pool, number in json.loads(account.max_running_by_pool).items())
    click.echo(f"{name}: weight {account.weight:g}, {at_once} at once{single}.")


def _numbers(by_pool: tuple[str, ...]) -> dict[str, int]:
    """The limits of POOL=N options. Raises a usage error for anything else."""
    found = {}
    for text in by_pool:
        pool, _, number = text.partition("=")
        if not pool or not number.isdecimal() or int(number) < 1:
            raise click.BadParameter(f"'{text}' is not POOL=N with N of at least 1.", param_hint="--max-in")
        found[pool] = int(number)
    return found


class Bytes(click.ParamType[int]):
    """A size such as 500G, in units of 1000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        count = bytes_in(str(value))
        if count is None:
            self.fail(f"'{value}' is not a size such as 500G.", param, ctx)
        return count


@command.command("quota")
@click.argument("name")
@click.option("--inputs", type=Bytes(), help="Files other than models; 0: no limit.")
@click.option("--models", type=Bytes(), help="Models; 0: no limit.")
@click.option("--outputs", type=Bytes(), help="What runs keep; 0: no limit.")
@click.option("--unfinished", type=Bytes(), help="Announced size of unfinished uploads; 0: no limit.")
@click.option("--uploads", type=Whole(min=0), help="Number of unfinished uploads; 0: no limit.")
@click.option("--default", "to_default", is_flag=True, help="Remove the account's own limits first.")
@data_dir_option
def set_quota(name: str, to_default: bool, data_dir: Path | None, **limits: int | None) -> None:
    """Set the storage limits of an account, or show them. Limits that are not set are the server's.

    \b
    comfyward users quota alice --models 500G --outputs 0
    comfyward users quota alice --default
    comfyward users quota alice
    """
    given = dict.fromkeys(LIMITS) if to_default else {}
    given |= {limit: most for limit, most in limits.items() if most is not None}

    def work(conn: Connection) -> tuple[Account, Stored]:
        account = accounts.by_name(conn, name)
        storage.set_limits(conn, account.id, given)
        return accounts.by_id(conn, account.id), storage.stored(conn, account.id)

    with open_database(data_dir) as db:
        account, stored = asyncio.run(db.write(work))
    own = storage.own_limits(account.storage_limits)
    quota = Quota(**settings_from(data_dir=data_dir).quota()).of(account.role, own)
    rows = [
        (
            limit,
            _amount(limit, getattr(stored, limit)),
            _most(limit, getattr(quota, limit)),
            "own" if limit in own else "server's",
        )
        for limit in LIMITS
    ]
    print_table(("storage", "used", "limit", "set by"), rows)


def _amount(limit: str, count: int) -> str:
    return f"{count:,}" if limit == "uploads" else size(count)


def _most(limit: str, most: int) -> str:
    return _amount(limit, most) if most else "-"


@command.command("limit")
@click.argument("name")
@click.argument("credits", required=False, type=Number(0))
@click.option("--none", "is_endless", is_flag=True, help="Remove the limit.")
@data_dir_option
def set_limit(name: str, credits: float | None, is_endless: bool, data_dir: Path | None) -> None:
    """Set the credits that an account may use, remove their limit, or show it.

    \b
    comfyward users limit alice 50000
    comfyward users limit alice --none
    comfyward users limit alice
    """
    if is_endless and credits is not None:
        raise click.UsageError("CREDITS and --none exclude each other: pass one of them.")

    def work(conn: Connection) -> float | None:
        account = accounts.by_name(conn, name)
        if is_endless or credits is not None:
            accounts.set_credit_limit(conn, account.id, credits)
        return accounts.by_name(conn, name).credit_limit

    with open_database(data_dir) as db:
        limit = asyncio.run(db.write(work))
    click.echo(f"{name}: {'no limit' if limit is None else _credits(limit)}.")


def _credits(amount: float) -> str:
    return f"{amount:g} {'credit' if amount == 1 else 'credits'}"
