"""comfygit's pyproject.toml (formerly comfydock's), by itself or in its archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from packaging.requirements import InvalidRequirement
from packaging.utils import canonicalize_name

from comfyward.environments.forms.draft import Drafting, table_of, text_of
from comfyward.environments.untrusted_texts import parse_requirement

TOOLS = ("comfygit", "comfydock")
OVERLAYS = frozenset({"xformers", "triton", "sageattention"})


def is_comfygit(values: Mapping[str, Any]) -> bool:
    return any(name in table_of(values, "tool") for name in TOOLS)


def read(values: Mapping[str, Any], drafting: Drafting) -> None:
    tools = table_of(values, "tool")
    about = next(table_of(tools, name) for name in TOOLS if name in tools)
    if version := text_of(about, "comfyui_version", "comfyui_commit_sha"):
        drafting.comfyui(version)
    drafting.python(text_of(about, "python_version"))
    for name, node in table_of(about, "nodes").items():
        if isinstance(node, Mapping):
            _pack(name, node, drafting)
    for line in _grouped(values):
        _package(line, drafting)
    constraints = table_of(tools, "uv").get("constraint-dependencies")
    drafting.preferences(constraints if isinstance(constraints, list) else [])
    drafting.models(about.get("models"), "filename")


def _pack(name: str, node: Mapping[str, Any], drafting: Drafting) -> None:
    id_, version = text_of(node, "registry_id"), text_of(node, "version")
    repository, ref = text_of(node, "repository"), text_of(node, "pinned_commit", "branch")
    if id_ and version:
        drafting.pack(f"cnr:{id_}@{version}")
    elif repository:
        drafting.pack(f"git+{repository}@{ref or 'HEAD'}")
    else:
        drafting.lose(name, "its files are on the machine that made it: add its folder")
    if text_of(node, "criticality") == "optional":
        drafting.lose(f"{name} is optional", "every pack of an environment is needed")


def _grouped(values: Mapping[str, Any]) -> Iterator[str]:
    for lines in table_of(values, "dependency-groups").values():
        if isinstance(lines, list):
            yield from (line for line in lines if isinstance(line, str))


def _package(line: str, drafting: Drafting) -> None:
    """Packs state what they need by themselves; what else speeds ComfyUI up is asked for."""
    try:
        is_overlay = canonicalize_name(parse_requirement(line).name) in OVERLAYS
    except InvalidRequirement:
        is_overlay = False
    if is_overlay:
        drafting.requirement(line)
    else:
        drafting.lose(line, "packs state what they need by themselves")
