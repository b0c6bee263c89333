"""Turns a spec into a lock: fetches ComfyUI and the packs, and chooses the packages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from comfyward.comfy.uv_command import Progress
from comfyward.environments import releases, uv
from comfyward.environments.fetching import WeightsStore
from comfyward.environments.lock import Lock, LockedComfyUI, LockedPack, canonical
from comfyward.environments.needs import core_requirements
from comfyward.environments.resolution import Asked, resolve
from comfyward.environments.source import Folder, Git, Package, PackSource, Registry, Release, parse_pack
from comfyward.environments.sources import Sources
from comfyward.environments.spec import Spec, checked
from comfyward.environments.target import TARGET
from comfyward.environments.trees import Trees
from comfyward.environments.weights import Weights
from comfyward.errors import InvalidEnvironment

FETCHED_AT_ONCE = 4  # packs: of each, most of the time passes in waits for its host and for processes


class Locker:
    """Locks specs for this host's platform and Python."""

    def __init__(self, sources: Sources, trees: Trees, weights: WeightsStore) -> None:
        self._sources, self._trees, self._weights = sources, trees, weights

    def lock(self, spec: Spec, former: Lock | None, progress: Progress) -> Lock:
        """The exact content of an environment. What a former lock has from the same source is not fetched again.

        Raises InvalidEnvironment, PackagesExclude, SetupFailed or FetchFailed; nothing is left half done.
        """
        if isinstance(spec.comfyui, Release):
            releases.check(spec.comfyui)
        comfyui = self._comfyui(spec, former, progress)
        packs = tuple(self._packs(checked(spec), former, progress))
        _check_folders(packs)
        files = tuple(self._files(spec, packs, former, progress))
        progress("Choosing packages", None)
        core = core_requirements(self._sources.file(comfyui, "requirements.txt"))
        asked = Asked(
            comfyui=f"ComfyUI {comfyui.version}",
            core=core,
            known=releases.known_packages(comfyui.version),
            packs={pack.folder: pack.needs for pack in packs},
            spec=spec,
        )
        packages, made_with = resolve(asked), _made_with(spec)
        return canonical(Lock(TARGET, comfyui, packs, packages, spec.force, made_with, files, spec.egress))

    def _comfyui(self, spec: Spec, former: Lock | None, progress: Progress) -> LockedComfyUI:
        if former is not None and former.comfyui.source == str(spec.comfyui) and _is_exact(spec.comfyui):
            self._sources.restore(former.comfyui)
            return former.comfyui
        progress("Fetching ComfyUI's source", None)
        return self._sources.lock_comfyui(spec.comfyui)

    def _packs(self, spec: Spec, former: Lock | None, progress: Progress) -> Iterator[LockedPack]:
        known = {pack.source: pack for pack in former.packs} if former else {}
        threads = ThreadPoolExecutor(FETCHED_AT_ONCE, "fetch-packs")
        try:
            locked = [threads.submit(self._pack, source, known.get(str(source))) for source in spec.packs]
            for number, (source, pack) in enumerate(zip(spec.packs, locked, strict=True)):
                if not pack.done():
                    progress(f"Fetching {source.name}", number / len(spec.packs))
                yield replace(pack.result(), web=spec.allows_web(source))
        finally:
            threads.shutdown(cancel_futures=True)

    def _pack(self, source: PackSource, known: LockedPack | None) -> LockedPack:
        if known is not None and _is_exact(source) and self._trees.has(known.tree):
            return known
        return self._sources.lock_pack(source)

    def _files(
        self, spec: Spec, packs: tuple[LockedPack, ...], former: Lock | None, progress: Progress
    ) -> Iterator[Weights]:
        """The files with digest and size: what the spec does not say is looked up, by fetching the file."""
        known = {(file.path, file.url): file for file in former.files} if former else {}
        for file in spec.files:
            self._check_place(file, packs)
            found = known.get((file.path, file.url))
            if file.is_exact:
                yield file
            elif found is not None and file.sha256 in ("", found.sha256) and file.size in (0, found.size):
                yield found
            else:
                yield self._weights.pinned(file, progress)

    def _check_place(self, file: Weights, packs: tuple[LockedPack, ...]) -> None:
        """Raises InvalidEnvironment for a file of a pack that is not there, or has a file there itself."""
        if file.pack is None:
            return
        pack = next((each for each in packs if each.folder == file.pack), None)
        if pack is None:
            folders = ", ".join(each.folder for each in packs) or "none"
            raise InvalidEnvironment(f"No pack has the folder of '{file.path}'.", hint=f"The folders are: {folders}.")
        if os.path.lexists(self._trees.path(pack.tree) / file.path.split("/", 2)[2]):
            raise InvalidEnvironment(f"The pack {pack.folder} has a file '{file.path}' of its own.")


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
