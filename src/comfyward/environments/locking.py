"""Turns a spec into a lock: fetches ComfyUI and the packs, and chooses the packages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from comfyward.comfy.uv_command import Progress
from comfyward.environments import releases, uv
from comfyward.environments.lock import Lock, LockedComfyUI, LockedPack, canonical
from comfyward.environments.needs import core_requirements
from comfyward.environments.resolution import Asked, resolve
from comfyward.environments.source import Folder, Git, Package, PackSource, Registry, Release, parse_pack
from comfyward.environments.sources import Sources
from comfyward.environments.spec import Spec, checked
from comfyward.environments.target import TARGET
from comfyward.environments.trees import Trees
from comfyward.errors import InvalidEnvironment


class Locker:
    """Locks specs for this host's platform and Python."""

    def __init__(self, sources: Sources, trees: Trees) -> None:
        self._sources, self._trees = sources, trees

    def lock(self, spec: Spec, former: Lock | None, progress: Progress) -> Lock:
        """The exact content of an environment. What a former lock has from the same source is not fetched again.

        Raises InvalidEnvironment, PackagesExclude, SetupFailed or FetchFailed; nothing is left half done.
        """
        if isinstance(spec.comfyui, Release):
            releases.check(spec.comfyui)
        comfyui = self._comfyui(spec, former, progress)
        packs = tuple(self._packs(checked(spec), former, progress))
        _check_folders(packs)
        progress("Choosing packages", None)
        core = core_requirements(self._sources.file(comfyui, "requirements.txt"))
        asked = Asked(
            comfyui=f"ComfyUI {comfyui.version}",
            core=core,
            known=releases.known_packages(comfyui.version),
            packs={pack.folder: pack.needs for pack in packs},
            spec=spec,
        )
        return canonical(Lock(TARGET, comfyui, packs, resolve(asked), spec.force, _made_with(spec)))

    def _comfyui(self, spec: Spec, former: Lock | None, progress: Progress) -> LockedComfyUI:
        if former is not None and former.comfyui.source == str(spec.comfyui) and _is_exact(spec.comfyui):
            self._sources.restore(former.comfyui)
            return former.comfyui
        progress("Fetching ComfyUI's source", None)
        return self._sources.lock_comfyui(spec.comfyui)

    def _packs(self, spec: Spec, former: Lock | None, progress: Progress) -> Iterator[LockedPack]:
        known = {pack.source: pack for pack in former.packs} if former else {}
        for number, source in enumerate(spec.packs):
            pack = known.get(str(source))
            if pack is not None and _is_exact(source) and self._trees.has(pack.tree):
                yield replace(pack, web=spec.allows_web(source))
                continue
            progress(f"Fetching {source.name}", number / len(spec.packs))
            yield replace(self._sources.lock_pack(source), web=spec.allows_web(source))


def with_web(lock: Lock, spec: Spec) -> Lock:
    """A lock with the same content, and the scripts of those packs allowed that a spec allows."""
    packs = tuple(replace(pack, web=spec.allows_web(parse_pack(pack.source))) for pack in lock.packs)
    return replace(lock, packs=packs)


def _is_exact(source: PackSource | Release) -> bool:
    """True if the same text always means the same files."""
    match source:
        case Git():
            return source.is_commit
        case Registry() | Package() | Folder() | Release():
            return True


def _check_folders(packs: tuple[LockedPack, ...]) -> None:
    by_folder: dict[str, LockedPack] = {}
    for pack in packs:
        if (other := by_folder.setdefault(pack.folder.casefold(), pack)) is not pack:
            raise InvalidEnvironment(f"{other.source} and {pack.source} have the same folder, '{pack.folder}'.")


def _made_with(spec: Spec) -> dict[str, str]:
    return {"uv": uv.version(), **({"cutoff": spec.cutoff} if spec.cutoff else {})}
