"""comfyward worker"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import uvloop

from comfyward import __version__
from comfyward.cli.comfyui_setup import absent_folders, ensure_installed
from comfyward.cli.options import Address, capture_log_tail, data_dir_option, set_up_logging, settings_from
from comfyward.cli.secret_option import secret_option
from comfyward.comfy.egress import Egress
from comfyward.comfy.install import Installation
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfySpec
from comfyward.environments.fetching import Fetching
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.target import TARGET
from comfyward.environments.workshop import Workshop
from comfyward.errors import SetupFailed
from comfyward.files.model_folders import ModelFolders
from comfyward.files.model_memory import ModelMemory
from comfyward.fleet.devices import Device, find_devices
from comfyward.ids import new_id, new_secret
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.sandbox import walls
from comfyward.sandbox.cgroups import Cgroups, NoCgroup, delegated
from comfyward.sandbox.leftovers import Leftovers, set_aside
from comfyward.sandbox.temporary import remove_abandoned
from comfyward.sandbox.weaknesses import weaknesses
from comfyward.settings import Settings
from comfyward.worker.agent import Agent
from comfyward.worker.ahead import Ahead
from comfyward.worker.asks import Asks
from comfyward.worker.attempts import Attempts
from comfyward.worker.builders import Builders
from comfyward.worker.collect import Collect
from comfyward.worker.deaths import Deaths
from comfyward.worker.engines import Engines
from comfyward.worker.environment_orders import EnvironmentOrders
from comfyward.worker.gpu import Gpu
from comfyward.worker.heartbeats import Heartbeats
from comfyward.worker.learning import Learning
from comfyward.worker.link import SESSION_VARIABLE, ServerLink
from comfyward.worker.model_keeper import ModelKeeper
from comfyward.worker.orders import OrdersHandler
from comfyward.worker.own_log import OwnLog
from comfyward.worker.pinned_files import PinnedFiles
from comfyward.worker.pipeline import Pipeline
from comfyward.worker.places import Places
from comfyward.worker.protocol import WorkerInfo
from comfyward.worker.pulse import VARIABLE, beat
from comfyward.worker.registration import Registration, check_token
from comfyward.worker.result_files import Bounds
from comfyward.worker.stage import Stage
from comfyward.worker.tried import Tried
from comfyward.worker.vital_signs import VitalSigns
from comfyward.worker.warm import WarmComfyUI
from comfyward.worker.watcher import watched

log = logging.getLogger(__name__)

LEFTOVERS = "leftovers"
CGROUPS_HINT = "Set Delegate=yes in its systemd unit (docs/security.md), or COMFYWARD_SANDBOX_CGROUPS=auto."


@click.command("worker")
@click.option("--server", type=Address(), required=True, help="The server's URL.")
@secret_option("token", "COMFYWARD_WORKER_TOKEN", "A worker token of that server.", required=True)
@click.option("--pool", help="The pool to serve.  [default: named after the device]")
@click.option("--id", "worker_id", help="A name for this worker.  [default: made of the host's name and the pool]")
@data_dir_option
@click.option("--device", envvar="COMFYWARD_WORKER_DEVICE", hidden=True)
@click.option("--local", is_flag=True, hidden=True)
def command(
    server: str,
    token: str,
    pool: str | None,
    worker_id: str | None,
    data_dir: Path | None,
    device: str | None,
    local: bool,
) -> None:
    """Join a server as a worker. It needs only the server's URL and a token.

    \b
    comfyward tokens create gpu-box                                          # on the server's machine
    comfyward worker --server https://comfy.example.com --token-file token   # on the GPU machine
    """
    settings = settings_from(data_dir=data_dir)
    set_up_logging(settings.log_level, settings.log_format)
    if VARIABLE not in os.environ:
        os.environ[SESSION_VARIABLE] = new_secret()  # of all workers that the watcher starts
    pulse = int(os.environ.pop(VARIABLE)) if VARIABLE in os.environ else watched()
    uvloop.run(check_token(server, token))
    installation = ensure_installed(settings)
    owned = _device(device, pool)
    name = worker_id or f"{socket.gethostname()}-{owned.pool}"
    level = walls.choose(settings.sandbox)
    info = _info(installation, owned, name, level, local)
    base_dir = (settings.data_dir / "workers" / name).resolve()
    spec = _spec(settings, installation, owned, base_dir / "comfyui", level)
    _empty(base_dir)
    cgroups = _cgroups(settings, spec.limits)
    spec = spec if cgroups is None else replace(spec, limits=cgroups.limits)
    for sentence in absent_folders(settings):
        log.warning("%s", sentence, extra={"action": "absent_folder"})
    for sentence in weaknesses(level, spec.access(base_dir), spec.model_dirs):
        log.warning("%s", sentence, extra={"action": "sandbox_is_weak"})
    uvloop.run(_work(settings, info, spec, ComfyParents(base_dir, cgroups), (server, token), pulse))


async def _work(
    settings: Settings,
    info: WorkerInfo,
    spec: ComfySpec,
    parents: ComfyParents,
    server_and_token: tuple[str, str],
    pulse: int,
) -> None:
    remove_abandoned()
    leftovers = Leftovers(spec.base_dir.parent / LEFTOVERS)
    beating = asyncio.create_task(beat(pulse), name="pulse")
    attempts, link = Attempts(), ServerLink(*server_and_token, os.environ.pop(SESSION_VARIABLE, None))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, attempts.drain)
    try:
        await _agent(settings, info, spec, parents, link, attempts).run()
    finally:
        await link.close()
        leftovers.close()
        beating.cancel()


def _agent(
    settings: Settings, info: WorkerInfo, spec: ComfySpec, parents: ComfyParents, link: ServerLink, attempts: Attempts
) -> Agent:
    """The worker, put together from its parts."""
    data_dir, base_dir = settings.data_dir.resolve(), spec.base_dir.parent
    fetching = Fetching.of(settings)
    cache, workshop = fetching.opened(), _workshop(settings, fetching)
    engines = Engines(spec, workshop.builds, _tried(workshop.builds.root, spec))
    comfyui = WarmComfyUI(engines, parents, f"comfyward-{new_id()}", base_dir / LEFTOVERS)
    builders = Builders(workshop, link, settings.node_registry_url, fetching, settings.environment_build_s)
    environments = EnvironmentOrders(engines, builders, comfyui, link, Deaths(engines.tried), Learning(comfyui, cache))
    # A plain number: pydantic's own kind of it cannot be told to the server.
    memory = ModelMemory(data_dir / "cache", int(settings.model_memory))
    models = ModelKeeper(memory, cache, ModelFolders(spec.model_dirs), PinnedFiles(cache, link, info), info.id)
    gpu = Gpu(comfyui, models, environments, attempts, settings.comfyui_memory_limit_bytes)
    collect = Collect(link, base_dir / "collect", base_dir / LEFTOVERS, Bounds(settings.outputs_limit_bytes))
    places = Places(spec, data_dir, workshop.builds.root)
    orders = OrdersHandler(attempts, environments, models, OwnLog(info, link, comfyui, capture_log_tail()))
    return Agent(
        Registration(info, link, comfyui, environments),
        Heartbeats(info, link, VitalSigns(comfyui, cache, models), environments, attempts, orders),
        Asks(info, link, gpu, environments, attempts, Ahead()),
        Pipeline(Stage(cache, link, info.id), gpu, collect, places, attempts),
        environments,
        attempts,
    )


def _workshop(settings: Settings, fetching: Fetching) -> Workshop:
    registry = ComfyRegistry(settings.node_registry_url, fetching.guard)
    return Workshop.below(settings.derived_environments_dir(), registry, fetching)


def _tried(environments: Path, spec: ComfySpec) -> Tried:
    return Tried(environments / "trials", (__version__, spec.level, *spec.device_args))


def _spec(
    settings: Settings, installation: Installation, device: Device, base_dir: Path, level: walls.Level
) -> ComfySpec:
    own = settings.comfyui is not None
    custom_nodes = [settings.custom_nodes_dir.resolve()] if settings.custom_nodes_dir else []
    if own and (installation.source / "custom_nodes").is_dir():
        custom_nodes.append(installation.source / "custom_nodes")
    models = [path.resolve() for path in settings.model_dirs]
    return ComfySpec(
        installation=installation,
        base_dir=base_dir,
        level=level,
        network=settings.sandbox_network,
        device_args=device.comfyui_args,
        extra_args=tuple(settings.comfyui_args),
        custom_nodes_dirs=tuple(custom_nodes),
        model_dirs=(*models, *(installation.models_dirs if own else ())),
        environment=device.environment,
        limits=walls.Limits(settings.sandbox_memory_bytes, settings.sandbox_disk_bytes, settings.sandbox_processes),
        egress=Egress(allow=tuple(settings.fetch_allow)),
    )


def _cgroups(settings: Settings, limits: walls.Limits) -> Cgroups | None:
    """The worker's cgroups; None where there are none to be had, or wanted. Raises SetupFailed if they are required."""
    if settings.sandbox_cgroups == "off":
        return None
    try:
        found = Cgroups(delegated(), limits)
    except NoCgroup as reason:
        if settings.sandbox_cgroups == "required":
            raise SetupFailed(f"No cgroup limits ComfyUI: {reason}.", hint=CGROUPS_HINT) from reason
        log.info("no cgroup limits ComfyUI: %s", reason, extra={"action": "no_cgroups"})
        return None
    log.info("each ComfyUI has a cgroup in %s", found.folder, extra={"action": "cgroups"})
    return found


def _info(installation: Installation, device: Device, name: str, level: walls.Level, local: bool) -> WorkerInfo:
    return WorkerInfo(
        id=name,
        incarnation=new_id(),
        pool=device.pool,
        environment=DEFAULT_ENVIRONMENT,
        device=device.name,
        host=socket.gethostname(),
        sandbox=level,
        versions={"comfyward": __version__, "comfyui": installation.version, "python": platform.python_version()},
        local=local,
        target=TARGET,
    )


def _device(description: str | None, pool: str | None) -> Device:
    if description is None:
        found = find_devices()[0]
    else:
        data: dict[str, Any] = json.loads(description)
        environment = tuple((key, value) for key, value in data["environment"])
        found = Device(data["pool"], data["name"], tuple(data["args"]), environment)
    return Device(pool or found.pool, found.name, found.comfyui_args, found.environment)


def _empty(base_dir: Path) -> None:
    """Moves aside the files of unfinished runs that an earlier process of this worker may have left."""
    base_dir.mkdir(parents=True, exist_ok=True)
    for entry in os.listdir(base_dir):
        if entry != LEFTOVERS:
            set_aside(base_dir / entry, base_dir / LEFTOVERS)
