"""Asks the package index about packs before they are fetched, so that a mistyped name or version is told at once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from comfyward.comfy.uv_command import UvFailed
from comfyward.environments import uv
from comfyward.environments.source import Package, PackSource
from comfyward.environments.uv import Question
from comfyward.errors import InvalidEnvironment

# An index that does not answer is left for the time when the packs are locked.
IMPATIENT = {"UV_HTTP_TIMEOUT": "5", "UV_HTTP_RETRIES": "0"}

_NO_VERSION = re.compile(r"there is no version of ([A-Za-z0-9._-]+)==(\S+?) and you require")
_NO_PACKAGE = re.compile(r"\b([A-Za-z0-9._-]+) was not found in the package registry")


def check(packs: Iterable[PackSource]) -> None:
    """Raises InvalidEnvironment for a package that the index does not have; not if the index cannot be asked now."""
    wanted = tuple(f"{pack.name}=={pack.version}" for pack in packs if isinstance(pack, Package))
    if not wanted:
        return
    try:
        uv.resolve(Question(wanted, with_dependencies=False), IMPATIENT)
    except UvFailed as failed:
        if found := _NO_VERSION.search(str(failed)):
            raise InvalidEnvironment(f"The package index has no version {found[2]} of '{found[1]}'.") from failed
        if found := _NO_PACKAGE.search(str(failed)):
            raise InvalidEnvironment(f"The package index has no package '{found[1]}'.") from failed
