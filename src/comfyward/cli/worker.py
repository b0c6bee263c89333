"""comfyward worker"""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import click
import uvloop

from comfyward import __version__
from comfyward.cli.comfyui_setup import ensure_installed
from comfyward.cli.options import capture_log_tail, data_dir_option, set_up_logging, settings_from
from comfyward.comfy import sandbox
from comfyward.comfy.install import Installation
from comfyward.comfy.process import ComfySpec
from comfyward.files.cache import HostCache
from comfyward.files.fetch import Limits
from comfyward.files.guard import Guard
from comfyward.fleet.devices import Device, find_devices
from comfyward.ids import new_id
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.settings import Settings
from comfyward.worker.agent import Agent
from comfyward.worker.collect import Collect
from comfyward.worker.execute import Execute
from comfyward.worker.link import ServerLink
from comfyward.worker.places import Places
from comfyward.worker.protocol import WorkerInfo
from comfyward.worker.stage import Stage
from comfyward.worker.warm import WarmComfyUI


@click.command("worker")
@click.option("--server", required=True, help="The server's URL.")
@click.option("--token", required=True, envvar="COMFYWARD_WORKER_TOKEN", help="A worker token of that server.")
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
    comfyward tokens create gpu-box                                     # on the server's machine
    comfyward worker --server https://comfy.example.com --token TOKEN   # on the GPU machine
    """
    settings = settings_from(data_dir=data_dir)
    set_up_logging(settings.log_level, settings.log_format)
    installation = ensure_installed(settings)
    owned = _device(device, pool)
    name = worker_id or f"{socket.gethostname()}-{owned.pool}"
    level = sandbox.choose(settings.sandbox)
    info = _info(installation, owned, name, level, local)
    base_dir = (settings.data_dir / "workers" / name).resolve()
    spec = _spec(settings, installation, owned, base_dir / "comfyui", level)
    _empty(base_dir)
    uvloop.run(_work(settings, info, spec, server, token, base_dir))


async def _work(settings: Settings, info: WorkerInfo, spec: ComfySpec, server: str, token: str, base_dir: Path) -> None:
    link = ServerLink(server, token)
    guard = Guard.allowing(settings.fetch_allow)
    limits = Limits(settings.fetch_limit_bytes, settings.fetch_timeout_s, settings.fetch_connections)
    cache = HostCache(settings.data_dir.resolve() / "cache", settings.cache_limit_bytes, guard, limits)
    comfyui = WarmComfyUI(spec, f"comfyward-{new_id()}")
    agent = Agent(
        info=info,
        link=link,
        comfyui=comfyui,
        stage=Stage(cache, link, info.id),
        execute=Execute(comfyui, base_dir / "collect"),
        collect=Collect(link, base_dir / "comfyui", base_dir / "collect"),
        places=Places(spec, settings.data_dir.resolve()),
        memory_limit_bytes=settings.comfyui_memory_limit_bytes,
        log_tail=capture_log_tail(),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.drain)
    await agent.run()


def _spec(
    settings: Settings, installation: Installation, device: Device, base_dir: Path, level: sandbox.Level
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
    )


def _info(installation: Installation, device: Device, name: str, level: sandbox.Level, local: bool) -> WorkerInfo:
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
    """Recreates the folder, in which an earlier process of this worker may have left files of unfinished runs."""
    shutil.rmtree(base_dir, ignore_errors=True)
    base_dir.mkdir(parents=True)
