"""The official releases of ComfyUI that can be installed by version, and the packages that they work with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from comfyward.comfy.releases import DEFAULT, RELEASES
from comfyward.comfy.source import put_source
from comfyward.environments.source import Release
from comfyward.errors import InvalidEnvironment

VERSIONS, DEFAULT_VERSION = tuple(RELEASES), DEFAULT.version
_PIN = re.compile(r"^([A-Za-z0-9._-]+==[^ ;\\]+)(\s*;[^\\\n]*)?", re.MULTILINE)


DEFAULT_SOURCE = Release(DEFAULT.version)
"""ComfyUI where nothing else is said."""


def check(release: Release) -> None:
    """Raises InvalidEnvironment for a version that is not among the known releases."""
    if release.version not in RELEASES:
        raise InvalidEnvironment(
            f"ComfyUI {release.version} is not among the releases that can be installed by version.",
            hint=f"These are: {', '.join(RELEASES)}. Any other is used by commit: git+URL@COMMIT.",
        )


def fetch(release: Release, target: Path, neighbours: Iterable[Path] = ()) -> None:
    """Puts the source of a release into a new folder, from a neighbour that has it unchanged if there is one.

    Raises InvalidEnvironment or SetupFailed.
    """
    check(release)
    put_source(RELEASES[release.version], target, neighbours)


def known_packages(version: str) -> tuple[str, ...]:
    """Pins of packages that a version works with; of the default version's, for one that is not known."""
    pins = RELEASES.get(version, DEFAULT).packages.read_text()
    return tuple(f"{pin}{marker}".strip() for pin, marker in _PIN.findall(pins))
