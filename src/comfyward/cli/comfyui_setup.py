"""The ComfyUI of this machine's workers, installed when the first one starts."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from comfyward.comfy import install
from comfyward.comfy.install import Installation
from comfyward.settings import Settings


def ensure_installed(settings: Settings) -> Installation:
    """The ComfyUI that workers on this machine use, installed with a progress bar if it is missing.

    Raises SetupFailed.
    """
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

        def show(step: str, fraction: float | None) -> None:
            bar.update(task, description=step, total=None if fraction is None else 1.0, completed=fraction or 0.0)
            if not console.is_terminal and fraction in (None, 0.0):
                console.print(step)

        return install.install(environments, show)
