"""Reads files of other programs into drafts: the form is told by the content, not by the name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from comfyward.environments.forms import comfy_build, comfygit, cpack, snapshot
from comfyward.environments.forms.archives import tar_members, zip_members
from comfyward.environments.forms.draft import Draft, Drafting
from comfyward.environments.forms.texts import yaml_table
from comfyward.environments.source import Release
from comfyward.environments.spec import parse_spec
from comfyward.environments.untrusted_texts import toml_table
from comfyward.errors import InvalidEnvironment

PYPROJECT = "pyproject.toml"
FORMS = (
    "a spec (TOML), a snapshot of ComfyUI-Manager (JSON or YAML), .cpack.zip, "
    "a pyproject.toml of comfygit or its archive, a build file of comfy-cli, or the folder of a ComfyUI"
)
_ZIP, _GZIP = b"PK", b"\x1f\x8b"


def read(content: bytes, releases: Mapping[str, str], default: Release) -> Draft:
    """The draft in a file. `releases` are ComfyUI's versions by commit. Raises InvalidEnvironment."""
    try:
        return _read(content, releases, default)
    except RecursionError as error:
        raise _unknown("The file is nested too deeply") from error


def _read(content: bytes, releases: Mapping[str, str], default: Release) -> Draft:
    drafting = Drafting()
    if content.startswith(_ZIP):
        members = zip_members(content, frozenset({cpack.SNAPSHOT, cpack.REQUIREMENTS}))
        if cpack.SNAPSHOT not in members:
            raise _unknown(f"The archive holds no {cpack.SNAPSHOT}")
        cpack.read(members, releases, drafting)
        return drafting.draft(default)
    if content.startswith(_GZIP):
        content = _pyproject_in(content, drafting)
    return _read_text(_decoded(content), releases, default, drafting)


def _read_text(text: str, releases: Mapping[str, str], default: Release, drafting: Drafting) -> Draft:
    toml = _toml(text)
    if toml is not None and "tool" not in toml:
        return Draft(parse_spec(text))
    match toml or _json(text) or yaml_table(text):
        case dict() as values if comfygit.is_comfygit(values):
            comfygit.read(values, drafting)
        case dict() as values if snapshot.is_snapshot(values):
            snapshot.read(values, releases, drafting)
        case dict() as values if comfy_build.is_build(values):
            comfy_build.read(values, drafting)
        case dict() as values if comfy_build.is_lock(values):
            comfy_build.read_lock(values, drafting)
        case None:
            parse_spec(text)
            raise _unknown("The file cannot be read")
        case _:
            raise _unknown("The file has no form that is known")
    return drafting.draft(default)


def _pyproject_in(content: bytes, drafting: Drafting) -> bytes:
    """The pyproject.toml of an archive: the one that lies least deep."""
    members = tar_members(content, frozenset({PYPROJECT}))
    found = sorted((name for name in members if name.rpartition("/")[2] == PYPROJECT), key=lambda name: name.count("/"))
    if not found:
        raise _unknown(f"The archive holds no {PYPROJECT}")
    for name in sorted(members):
        if name.endswith(".json"):
            drafting.lose(name, "environments hold no workflows: import it on the website")
    return members[found[0]]


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unknown("The file is not a text in UTF-8") from error


def _toml(text: str) -> dict[str, Any] | None:
    try:
        return toml_table(text)
    except ValueError:
        return None


def _json(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unknown(what: str) -> InvalidEnvironment:
    return InvalidEnvironment(f"{what}.", hint=f"Use {FORMS}.")
