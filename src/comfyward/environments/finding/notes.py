"""Offers from the notes in a graph: registry ids and repositories that its maker's editor wrote into it."""

from __future__ import annotations

import re

from comfyward.environments.source import Git, PackSource, parse_pack
from comfyward.errors import InvalidEnvironment
from comfyward.workflows.noted import CORE_ID, Noted
from comfyward.workflows.offer import Confidence, Offer, Origin

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_-]{1,500}")  # an admin may copy it into a command
_ELSEWHERE = re.compile(r"https?://([a-z0-9-]+\.)+[a-z]{2,}(:\d+)?/", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_RELEASE = re.compile(r"\d+(\.\d+)+[A-Za-z0-9.+-]*")


def noted_offer(noted: Noted | None) -> Offer | None:
    """The pack that a note names; None if it names none that can be added."""
    if noted is not None and noted.cnr_id == CORE_ID:
        return _of_comfyui(noted.version)
    pack = None if noted is None else _pack(noted)
    return None if pack is None else Offer(pack.name, Origin.WORKFLOW, Confidence.LIKELY, str(pack))


def _of_comfyui(version: str) -> Offer | None:
    """ComfyUI itself, from the version with which the workflow was saved: our table is older than a new class."""
    if not _RELEASE.fullmatch(version):
        return None
    return Offer("ComfyUI", Origin.WORKFLOW, Confidence.LIKELY, comfyui=f">={version}")


def _pack(noted: Noted) -> PackSource | None:
    if noted.cnr_id and _RELEASE.fullmatch(noted.version):
        return source_or_none(f"cnr:{noted.cnr_id}@{noted.version}")
    if _REPOSITORY.fullmatch(noted.aux_id):
        ref = noted.version if _COMMIT.fullmatch(noted.version) else "HEAD"
        return source_or_none(f"git+https://github.com/{noted.aux_id}@{ref}")
    return None


def source_or_none(text: str) -> PackSource | None:
    """The source that a stranger's text names; None if it is none, or if a shell would read more into it.

    A repository is named by its host's name on the internet: git asks whatever address an admin accepts.
    """
    try:
        source = parse_pack(text) if _PLAIN.fullmatch(text) else None
    except InvalidEnvironment:
        return None
    return None if isinstance(source, Git) and not _ELSEWHERE.match(source.url) else source
