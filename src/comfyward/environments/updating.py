"""The newest versions of what an environment has, and the newer releases of ComfyUI that it could have."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from comfyward.comfy.releases import RELEASES, REPOSITORY
from comfyward.comfy.uv_command import Progress, UvFailed
from comfyward.environments import git, uv
from comfyward.environments.faults import last_line
from comfyward.environments.lock import Lock
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.source import (
    COMFYUI,
    ComfyUISource,
    Folder,
    Git,
    Package,
    PackSource,
    Registry,
    Release,
    is_official,
    parse_comfyui,
)
from comfyward.environments.spec import Spec
from comfyward.environments.uv import Question
from comfyward.errors import ComfywardError, InvalidEnvironment, SetupFailed

NEWEST = "newest"
"""In place of a version of ComfyUI: the newest that can be installed by version."""
MAX_OFFERS = 20


@dataclass(frozen=True)
class Offered:
    """A newer release of ComfyUI, and its source as in a spec."""

    version: str
    source: str


@dataclass(frozen=True)
class Update:
    """The spec with the newest versions. `notes` are sentences on what could not be asked."""

    spec: Spec
    offers: tuple[Offered, ...] = ()
    notes: tuple[str, ...] = ()


class Updater:
    """Asks registries and repositories what is newest."""

    def __init__(self, registry: ComfyRegistry, repository: str = REPOSITORY) -> None:
        self._registry, self._repository = registry, repository

    def update(self, spec: Spec, former: Lock | None, comfyui: str, progress: Progress) -> Update:
        """The newest of everything; ComfyUI stays unless `comfyui` is NEWEST or the version of an official release.

        What cannot be asked stays as it is. Raises InvalidEnvironment for a version that there is not.
        """
        cutoff = datetime.datetime.now(datetime.UTC).date().isoformat() if spec.cutoff else None
        notes: list[str] = []
        packs = []
        for number, pack in enumerate(spec.packs):
            progress(f"Looking for a newer {pack.name}", number / len(spec.packs))
            packs.append(self._newest_pack(pack, cutoff, notes))
        progress("Looking for a newer ComfyUI", None)
        offers = tuple(self._offers(_version_of(spec.comfyui, former), notes))[:MAX_OFFERS]
        chosen = _chosen(spec.comfyui, comfyui, offers)
        found = dataclasses.replace(spec, comfyui=chosen, packs=tuple(packs), cutoff=cutoff)
        return Update(found, tuple(each for each in offers if each.source != str(chosen)), tuple(notes))

    def _newest_pack(self, pack: PackSource, cutoff: str | None, notes: list[str]) -> PackSource:
        try:
            match pack:
                case Registry():
                    return Registry(pack.id, self._registry.newest(pack.id))
                case Package():
                    (package,) = uv.resolve(Question((pack.name,), with_dependencies=False, cutoff=cutoff))
                    return Package(pack.name, package.version)
                case Git() if pack.is_commit:
                    return Git(pack.url, git.head_of(pack.url))
                case Git() | Folder():
                    return pack
        except (ComfywardError, UvFailed) as error:
            reason = error.message if isinstance(error, ComfywardError) else last_line(str(error))
            notes.append(f"{pack} stays, since nothing newer could be looked for: {reason}")
            return pack

    def _offers(self, present: Version | None, notes: list[str]) -> Iterator[Offered]:
        """The releases after the present one, the newest first: by version, or by commit if only upstream has them."""
        if present is None:
            return
        found = {Version(version): version for version in RELEASES}
        try:
            tags = git.tags_of(self._repository)
        except SetupFailed as error:
            notes.append(f"Only releases that are known here are offered: {error.message}")
            tags = {}
        for tag, commit in tags.items():
            with contextlib.suppress(InvalidVersion):
                version = Version(tag.removeprefix("v"))
                if not version.is_prerelease:
                    found.setdefault(version, str(Git(COMFYUI, commit)))
        for version in sorted(found, reverse=True):
            if version > present:
                yield Offered(str(version), found[version])


def _chosen(present: ComfyUISource, asked: str, offers: tuple[Offered, ...]) -> ComfyUISource:
    """Raises InvalidEnvironment."""
    if not asked:
        return present
    by_version = {each.version: each.source for each in offers}
    if asked == NEWEST:
        known = [each.source for each in offers if each.version in RELEASES]
        return parse_comfyui(known[0]) if known else present
    version = asked.removeprefix("v")
    if version in RELEASES:
        return Release(version)
    if version not in by_version:
        newer = ", ".join(by_version) or "none"
        raise InvalidEnvironment(f"There is no release {asked} of ComfyUI to update to.", hint=f"Newer are: {newer}.")
    return parse_comfyui(by_version[version])


def _version_of(source: ComfyUISource, former: Lock | None) -> Version | None:
    """The version of an official release; None for any other ComfyUI, which has no newer one."""
    text = ""
    match source:
        case Release():
            text = source.version
        case Git() if is_official(source.url) and former is not None:
            text = former.comfyui.version
    with contextlib.suppress(InvalidVersion):
        return Version(text)
    return None
