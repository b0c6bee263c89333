"""comfy-cli's build file (comfy-build/1) and lock file (comfy.lock.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyward.environments.forms.draft import Drafting, listed, table_of, text_of


def is_build(values: Mapping[str, Any]) -> bool:
    return bool({"baseComfyVersion", "customNodes"} & table_of(values, "definition").keys())


def is_lock(values: Mapping[str, Any]) -> bool:
    return "basics" in values and "models" in values


def read(values: Mapping[str, Any], drafting: Drafting) -> None:
    about = table_of(values, "definition")
    if version := text_of(about, "baseComfyVersion"):
        drafting.comfyui(version)
    for node in listed(about.get("customNodes")):
        id_, repository = text_of(node, "id"), text_of(node, "repository")
        if id_ and text_of(node, "registryVersion"):
            drafting.pack(f"cnr:{id_}@{text_of(node, 'registryVersion')}")
        elif repository:
            drafting.pack(f"git+{repository}@{text_of(node, 'gitRef') or 'HEAD'}")
        else:
            drafting.lose(id_ or "a pack", "the file names neither its version nor its repository")
    for line in map(str.strip, text_of(about, "pipDependencies").splitlines()):
        if line and not line.startswith("#"):
            drafting.requirement(line)
    drafting.models(about.get("models"), "filename")
    if image := text_of(about, "baseImage"):
        drafting.lose(f"baseImage {image}", "environments are built on the worker's own system")


def read_lock(values: Mapping[str, Any], drafting: Drafting) -> None:
    drafting.models(values.get("models"), "name")
    for name in table_of(values, "custom_nodes"):
        drafting.lose(name, "the file does not say where it comes from")
