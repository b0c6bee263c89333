"""comfyward fleet"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
from sqlalchemy import Connection

from comfyward.cli.database import open_database
from comfyward.cli.options import data_dir_option, set_up_logging
from comfyward.cli.tables import print_table
from comfyward.errors import SetupFailed
from comfyward.fleet.pools import FleetConfig, load_fleet
from comfyward.fleet.remote import Sync
from comfyward.store import fleets, queue, workers
from comfyward.store.db import now_ms

RESTART_PAUSE_S = 2.0
REFUSED = 78  # how the supervised process says that its settings are wrong (sysexits.h: EX_CONFIG)
SUPERVISED = "COMFYWARD_FLEET_SUPERVISED"


@click.group("fleet")
def command() -> None:
    """Start workers on a Ray cluster; see what fleets there are."""


@command.command("ray")
@click.option("--address", default="auto", show_default=True, help="The Ray cluster's address, HOST:PORT.")
@click.option("--config", "path", required=True, type=click.Path(path_type=Path, dir_okay=False), help="fleet.toml")
@click.option("--server", required=True, help="The comfyward server's URL, as workers reach it.")
@click.option("--token", required=True, envvar="COMFYWARD_FLEET_TOKEN", help="A token made with --fleet.")
@click.option("--grace", "grace_s", default=300.0, show_default=True, help="Seconds that a worker may take to stop.")
def run_ray(address: str, path: Path, server: str, token: str, grace_s: float) -> None:
    """Start and stop workers on a Ray cluster, as the queue needs them.

    Runs by the cluster, with its versions of Python and Ray (pip install 'comfyward[ray]'), and comes back by itself
    when Ray's head was lost. Workers go on without it.

    \b
    comfyward tokens create ray --fleet           # by the server
    comfyward fleet ray --address 10.0.0.1:6379 --config fleet.toml --server https://comfy.example.com --token TOKEN
    """
    config = load_fleet(path)
    if SUPERVISED not in os.environ:
        sys.exit(_keep_running())
    set_up_logging("info")
    try:
        asyncio.run(_converge(config, address, server, token, grace_s))
    except SetupFailed as error:
        click.secho(f"Error: {error.message}", fg="red", err=True)
        click.echo(f"Hint: {error.hint}", err=True)
        sys.exit(REFUSED)


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@data_dir_option
def status(as_json: bool, data_dir: Path | None) -> None:
    """Show the pools of all fleets: their limits, their workers, what waits, and what is wrong.

    \b
    comfyward fleet status
    """
    with open_database(data_dir) as db:
        found, waiting, present = asyncio.run(db.read(_look))
    rows = [
        {"fleet": fleet.name, "pool": pool, **about, "workers": present.get(pool, 0), "waiting": waiting.get(pool, 0)}
        for fleet in found
        for pool, about in fleet.pools.items()
    ]
    if as_json:
        return click.echo(json.dumps(rows, indent=2))
    if not rows:
        return click.echo("No fleet was heard of in the last minute.")
    cells = [
        (
            row["pool"],
            row["fleet"],
            str(row["workers"]),
            str(row["pending"]),
            f"{row['min']} to {row['max']}",
            str(row["waiting"]),
        )
        for row in rows
    ]
    print_table(("pool", "fleet", "workers", "starting", "limits", "waiting"), cells)
    for row in rows:
        if row["problem"]:
            click.secho(f"{row['pool']}: {row['problem']}", fg="yellow")
    return None


def _look(conn: Connection) -> tuple[list[fleets.FleetRow], dict[str, int], dict[str, int]]:
    since = now_ms() - workers.PRESENT_MS
    return fleets.find(conn, since), queue.lengths(conn), workers.count_present(conn, since)


def _keep_running() -> int:
    """Starts this command again when it ends: Ray ends a process that has lost the cluster's head, whatever it does."""
    child: subprocess.Popen[bytes] | None = None
    stopping = False

    def stop(number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        if child is not None:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    has_worked = False
    while not stopping:
        child = subprocess.Popen(
            [sys.executable, "-m", "comfyward", *sys.argv[1:]], env={**os.environ, SUPERVISED: "1"}
        )
        status = child.wait()
        if stopping or status == 0:
            return 0
        if status == REFUSED and not has_worked:
            return 1
        has_worked = True
        click.echo(f"The fleet's process ended ({status}); starting it again.", err=True)
        time.sleep(RESTART_PAUSE_S)
    return 0


async def _converge(config: FleetConfig, address: str, server: str, token: str, grace_s: float) -> None:
    try:
        from comfyward.fleet.ray import RayFleet
    except ModuleNotFoundError as error:
        raise SetupFailed("Ray is not installed.", hint="pip install 'comfyward[ray]'") from error
    fleet = RayFleet(config, server, token, grace_s)
    sync = Sync(fleet, server, token, grace_s)
    await asyncio.to_thread(fleet.connect, address)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await sync.tick()  # what cannot work is said at once
    sync.start()
    click.echo(f"Fleet '{config.name}' converges: {', '.join(config.pools)}.")
    await ended.wait()
    await sync.stop()
    await fleet.close(grace_s)
