"""The ComfyUI of this machine's workers, installed when the first one starts."""

from __future__ import annotations

import os

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
    release = install.chosen(environments, settings.comfyui_version)
    found = install.installed(environments, release)
    if found is not None:
        return found
    from comfyward.cli.steps import showing_steps  # imports what draws bars

    with showing_steps("Installing ComfyUI", stays=True) as show:
        return install.install(environments, release, show)


def absent_folders(settings: Settings) -> list[str]:
    """Sentences about the operator's folders of packs and models that are not there: they count as empty."""
    packs = [settings.custom_nodes_dir] if settings.custom_nodes_dir else []
    named = [("COMFYWARD_CUSTOM_NODES_DIR", packs), ("COMFYWARD_MODEL_DIRS", settings.model_dirs)]
    return [
        f"There is no folder {folder}, which {variable} names."
        for variable, folders in named
        for folder in folders
        if not os.path.isdir(folder)  # False also for a folder that may not be looked at
    ]
