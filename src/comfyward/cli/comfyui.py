"""comfyward comfyui"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import msgspec
from sqlalchemy import make_url

from comfyward.cli.comfyui_setup import ensure_installed
from comfyward.cli.database import open_database
from comfyward.cli.options import data_dir_option, settings_from
from comfyward.comfy import install, sandbox
from comfyward.comfy.install import Installation
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.settings import Settings
from comfyward.store import workers
from comfyward.workflows.catalog import Catalog, Failure


@click.group("comfyui")
def command() -> None:
    """Install ComfyUI, or show what is installed."""


@command.command("install")
@data_dir_option
def install_command(data_dir: Path | None) -> None:
    """Install the pinned ComfyUI now instead of at the first start.

    \b
    comfyward comfyui install
    """
    found = ensure_installed(settings_from(data_dir=data_dir))
    click.echo(f"ComfyUI {found.version} is in {found.source}")


@command.command("show")
@data_dir_option
def show_command(data_dir: Path | None) -> None:
    """Show the ComfyUI that workers on this machine use, its sandbox, and the packs that failed to load."""
    settings = settings_from(data_dir=data_dir)
    if settings.comfyui is not None:
        found: Installation | None = install.existing(settings.comfyui, settings.comfyui_python)
    else:
        found = install.installed(settings.derived_environments_dir())
    click.echo("ComfyUI is not installed yet." if found is None else f"ComfyUI {found.version}: {found.source}")
    click.echo(f"Sandbox: {sandbox.choose(settings.sandbox)}")
    failures = _failures(settings)
    if failures is None:
        click.echo("Nodes: unknown until a worker has started")
    elif not failures:
        click.echo("Nodes: all packs loaded")
    else:
        click.echo("Failed to load:")
        for failure in failures:
            click.echo(f"  {failure.name}: {failure.error}")


def _failures(settings: Settings) -> tuple[Failure, ...] | None:
    """The packs and nodes that failed to load in the worker that joined last; None before any worker has joined."""
    url = make_url(settings.derived_database_url())
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return None  # opening it would create it
    with open_database(settings.data_dir) as db:
        body = asyncio.run(db.read(workers.catalog, DEFAULT_ENVIRONMENT))
    return None if body is None else Catalog.from_json(msgspec.json.decode(body)).failures
