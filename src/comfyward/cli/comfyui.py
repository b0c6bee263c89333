"""comfyward comfyui"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from comfyward.cli.comfyui_setup import absent_folders, ensure_installed
from comfyward.cli.database import open_database
from comfyward.cli.groups import Group
from comfyward.cli.options import data_dir_option, settings_from
from comfyward.comfy import install
from comfyward.comfy.install import Installation
from comfyward.sandbox import walls
from comfyward.sandbox.weaknesses import weaknesses
from comfyward.settings import Settings
from comfyward.store import catalogs
from comfyward.workflows.catalog import Failure
from comfyward.workflows.catalog_form import parse_catalog


@click.group("comfyui", cls=Group)
def command() -> None:
    """Install ComfyUI, or show what is installed.

    \b
    comfyward comfyui install
    comfyward comfyui show
    """


@command.command("install")
@click.option("--version", "comfyui_version", help="The release to install.  [default: the one in use]")
@data_dir_option
def install_command(comfyui_version: str | None, data_dir: Path | None) -> None:
    """Install ComfyUI now instead of at the first start.

    \b
    comfyward comfyui install
    comfyward comfyui install --version 0.3.75
    """
    settings = settings_from(data_dir=data_dir, comfyui_version=comfyui_version)
    found = ensure_installed(settings)
    click.echo(f"ComfyUI {found.version} is in {found.source}")
    if settings.comfyui is None and install.chosen(settings.derived_environments_dir(), None).version != found.version:
        click.echo(f"It is used by servers and workers with COMFYWARD_COMFYUI_VERSION={found.version}.")


@command.command("show")
@data_dir_option
def show_command(data_dir: Path | None) -> None:
    """Show the ComfyUI that workers on this machine use, its sandbox, and the packs that failed to load.

    \b
    comfyward comfyui show
    """
    settings = settings_from(data_dir=data_dir)
    if settings.comfyui is not None:
        found: Installation | None = install.existing(settings.comfyui, settings.comfyui_python)
    else:
        environments = settings.derived_environments_dir()
        found = install.installed(environments, install.chosen(environments, settings.comfyui_version))
    click.echo("ComfyUI is not installed yet." if found is None else f"ComfyUI {found.version}: {found.source}")
    level = walls.choose(settings.sandbox)
    click.echo(f"Sandbox: {level}")
    folders = (*(found.folders if found else ()), *settings.model_dirs)
    for sentence in weaknesses(level, walls.Access(folders, settings.data_dir.resolve()), settings.model_dirs):
        click.echo(f"  {sentence}")
    for sentence in absent_folders(settings):
        click.echo(sentence)
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
    if settings.database_url is None and not settings.database_file().exists():
        return None  # opening it would create it
    with open_database(settings.data_dir) as db:
        body = asyncio.run(db.read(catalogs.newest))
    return None if body is None else parse_catalog(body).failures
