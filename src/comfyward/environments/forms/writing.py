"""Writes environments in the forms of other programs."""

from __future__ import annotations

import dataclasses
import json

from comfyward.comfy.releases import RELEASES
from comfyward.environments.forms import cpack, snapshot
from comfyward.environments.forms.draft import Lost
from comfyward.environments.lock import Lock
from comfyward.environments.source import parse_comfyui, parse_pack
from comfyward.environments.spec import Spec

MANAGER, CPACK = "manager", "cpack"
NOT_TAKEN_OVER = "Comfyward-Not-Taken-Over"  # the header in which a server lists what a form cannot hold
COMMIT_OF = {release.version: release.commit for release in RELEASES.values() if release.commit}
VERSION_OF = {commit: version for version, commit in COMMIT_OF.items()}


def written(form: str, spec: Spec) -> tuple[bytes, list[Lost]]:
    """The content of a file of ComfyUI-Manager (a snapshot) or comfy-pack (an archive), and what it cannot hold."""
    if form == CPACK:
        return cpack.written(spec, COMMIT_OF)
    values, lost = snapshot.written(spec, COMMIT_OF)
    return f"{json.dumps(values, indent=2, ensure_ascii=False)}\n".encode(), lost


def exact(spec: Spec, lock: Lock) -> Spec:
    """The spec of a revision with the exact sources that its lock has: commits in place of branches."""
    packs = tuple(parse_pack(pack.source) for pack in lock.packs)
    return dataclasses.replace(spec, comfyui=parse_comfyui(lock.comfyui.source), packs=packs)
