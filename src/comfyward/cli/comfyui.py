"""comfyward comfyui"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from comfyward.cli.options import data_dir_option, settings_from
from comfyward.comfy import install, sandbox
from comfyward.comfy.install import Installation
from comfyward.settings import Settings


def ensure_installed(settings: Settings) -> Installation:
    """The ComfyUI that workers here will use; installed first, with a progress bar, when it is missing."""
    if settings.comfyui is not None:
        return install.existing(settings.comfyui, settings.comfyui_python)
    environments = settings.derived_environments_dir()
    found = install.installed(environments)
    if found is not None:
        return found
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("Installing ComfyUI", total=None)

        def show(what: str, fraction: float | None) -> None:
            bar.update(task, description=what, total=None if fraction is None else 1.0, completed=fraction or 0.0)
            if not console.is_terminal and fraction in (None, 0.0):
                console.print(what)

        return install.install(environments, show)


@click.group("comfyui")
def command() -> None:
    """Install ComfyUI and see what is installed."""


@command.command("install")
@data_dir_option
def install_command(data_dir: Path | None) -> None:
    """Install the pinned ComfyUI now, instead of at the first start.

    \b
    comfyward comfyui install
    """
    found = ensure_installed(settings_from(data_dir=data_dir))
    click.echo(f"ComfyUI {found.version} is in {found.source}")


@command.command("show")
@data_dir_option
def show_command(data_dir: Path | None) -> None:
    """Show which ComfyUI workers here use, and how it is sandboxed."""
    settings = settings_from(data_dir=data_dir)
    if settings.comfyui is not None:
        found: Installation | None = install.existing(settings.comfyui, settings.comfyui_python)
    else:
        found = install.installed(settings.derived_environments_dir())
    click.echo("ComfyUI is not installed yet." if found is None else f"ComfyUI {found.version}: {found.source}")
    click.echo(f"Sandbox: {sandbox.choose(settings.sandbox)}")
