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
from typing import Any

import click
from sqlalchemy import Connection

from comfyward.cli.database import open_database
from comfyward.cli.groups import Group
from comfyward.cli.options import Address, Number, data_dir_option, set_up_logging
from comfyward.cli.secret_option import secret_option
from comfyward.cli.tables import print_table
from comfyward.errors import SetupFailed
from comfyward.fleet.pools import FleetConfig, load_fleet
from comfyward.fleet.remote import Sync
from comfyward.store import fleets, queue, workers
from comfyward.store.db import now_ms

RESTART_PAUSE_S = 2.0
CONFIG_ERROR = 78  # the supervised process exits with it if its settings are wrong (sysexits.h: EX_CONFIG)
SUPERVISED = "COMFYWARD_FLEET_SUPERVISED"


@click.group("fleet", cls=Group)
def command() -> None:
    """Run workers on a Ray cluster, and show the fleets.

    \b
    comfyward fleet status
    comfyward fleet ray --config fleet.toml --server https://comfy.example.com --token-file token
    """


@command.command("ray")
@click.option("--address", default="auto", show_default=True, help="The Ray cluster's address, HOST:PORT.")
@click.option("--config", "path", required=True, type=click.Path(path_type=Path, dir_okay=False), help="fleet.toml")
@click.option("--server", type=Address(), required=True, help="The comfyward server's URL, as workers reach it.")
@secret_option("token", "COMFYWARD_FLEET_TOKEN", "A token created with --fleet.", required=True)
@click.option(
    "--grace",
    "grace_s",
    type=Number(0),
    default=300.0,
    show_default=True,
    help="Seconds that a worker may take to stop.",
)
def run_ray(address: str, path: Path, server: str, token: str, grace_s: float) -> None:
    """Start and stop workers on a Ray cluster as the queue needs them.

    Runs on a node of the cluster, with the cluster's versions of Python and Ray (pip install 'comfyward[ray]'), and
    restarts when Ray's head is lost. Workers continue without it.

    \b
    comfyward tokens create ray --fleet           # on the server's machine
    comfyward fleet ray --address 10.0.0.1:6379 --config fleet.toml --server https://comfy.example.com \\
        --token-file token
    """
    config = load_fleet(path)
    if SUPERVISED not in os.environ:
        sys.exit(_supervise())
    set_up_logging("info")
    try:
        asyncio.run(_run_fleet(config, address, server, token, grace_s))
    except SetupFailed as error:
        click.secho(f"Error: {error.message}", fg="red", err=True)
        click.echo(f"Hint: {error.hint}", err=True)
        sys.exit(CONFIG_ERROR)


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@data_dir_option
def status(as_json: bool, data_dir: Path | None) -> None:
    """Show the pools of all fleets: limits, workers, waiting runs and problems.

    \b
    comfyward fleet status
    """
    with open_database(data_dir) as db:
        pools = asyncio.run(db.read(_pools))
    if as_json:
        return click.echo(json.dumps(pools, indent=2))
    if not pools:
        return click.echo("No fleet has reported in the last minute.")
    rows = [
        (
            pool["pool"],
            pool["fleet"],
            str(pool["workers"]),
            str(pool["pending"]),
            f"{pool['min']} to {pool['max']}",
            str(pool["waiting"]),
        )
        for pool in pools
    ]
    print_table(("pool", "fleet", "workers", "starting", "limits", "waiting"), rows)
    for pool in pools:
        if pool["problem"]:
            click.secho(f"{pool['pool']}: {pool['problem']}", fg="yellow")
    return None


def _pools(conn: Connection) -> list[dict[str, Any]]:
    since = now_ms() - workers.PRESENT_MS
    waiting, present = queue.lengths(conn), workers.count_present(conn, since)
    return [
        {"fleet": fleet.name, "pool": pool, **report, "workers": present.get(pool, 0), "waiting": waiting.get(pool, 0)}
        for fleet in fleets.find(conn, since)
        for pool, report in fleet.pools.items()
    ]


def _supervise() -> int:
    """Restarts this command when it ends: Ray ends any process that loses the cluster's head. Returns an exit code."""
    child: subprocess.Popen[bytes] | None = None
    stopping = False

    def stop(number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        if child is not None:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    has_restarted = False
    while not stopping:
        child = subprocess.Popen(
            [sys.executable, "-m", "comfyward", *sys.argv[1:]], env={**os.environ, SUPERVISED: "1"}
        )
        status = child.wait()
        if stopping or status == 0:
            return 0
        if status == CONFIG_ERROR and not has_restarted:
            return 1
        has_restarted = True
        click.echo(f"The fleet's process ended ({status}); restarting it.", err=True)
        time.sleep(RESTART_PAUSE_S)
    return 0


async def _run_fleet(config: FleetConfig, address: str, server: str, token: str, grace_s: float) -> None:
    try:
        from comfyward.fleet.ray import RayFleet
    except ModuleNotFoundError as error:
        raise SetupFailed("Ray is not installed.", hint="pip install 'comfyward[ray]'") from error
    fleet = RayFleet(config, server, token, grace_s)
    await asyncio.to_thread(fleet.connect, address)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    sync = Sync(fleet, server, token, grace_s)
    try:
        await sync.tick()  # so that wrong settings end the command
        sync.start()
        click.echo(f"Fleet '{config.name}' is running: {', '.join(config.pools)}.")
        await ended.wait()
    finally:
        await sync.stop()
    await fleet.close(grace_s)
