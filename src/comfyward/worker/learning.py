"""A trial that learns: ComfyUI may reach some hosts for once, and the files that its packs made are looked for again.

What is found is hostile: packs chose the places and the addresses. So folders are read beneath, without links and
within bounds, and an address counts if this worker gets the same bytes from there, through the guard.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comfyward.comfy.egress import RECORD
from comfyward.comfy.process import ComfySpec
from comfyward.environments.builds import Build
from comfyward.environments.learning import candidates
from comfyward.environments.weights import HOME, MODELS, PACKS, parse_place
from comfyward.errors import ComfyUIError, ComfywardError, InvalidEnvironment, SetupFailed
from comfyward.files.cache import HostCache, WantedFile
from comfyward.files.stop import Stop
from comfyward.ids import new_uuid
from comfyward.runs.files import Url
from comfyward.sandbox import beneath, walls
from comfyward.worker import trial
from comfyward.worker.generation import Generation
from comfyward.worker.learned import MAX_FOUND, MAX_HOSTS, FoundFile, Learned, LearningOrder
from comfyward.worker.message_bounds import MAX_MESSAGE
from comfyward.worker.warm import WarmComfyUI

log = logging.getLogger(__name__)

LONGEST_S, LONGEST_GRAPH_S = 1800.0, 1200.0
MOST_ENTRIES, DEEPEST, MOST_FETCHES = 50_000, 24, 100
MOST_BYTES = 200 << 30  # that are hashed
RECORD_BYTES, CHUNK_BYTES = 8 << 20, 1 << 20
UNKNOWN_BYTES = 1 << 20  # a smaller file whose address is unknown is no weights: a setting, a log
PINS = "learning"
_ROOTS = ((PACKS, ("source", "custom_nodes")), (MODELS, ("models",)), (HOME, ("user",)))
_PASSING = ("__pycache__", ".locks", "blobs")  # folders of bytecode, and of huggingface_hub's own
_UNFINISHED = (".incomplete", ".lock", ".tmp", ".part", ".pyc")


@dataclass(frozen=True)
class _Made:
    """A file that packs have made."""

    path: str
    sha256: str
    size: int


class Learning:
    """Learns of environments that are built on this host."""

    def __init__(self, comfyui: WarmComfyUI, cache: HostCache) -> None:
        self._comfyui, self._cache = comfyui, cache

    async def learn(self, build: Build, order: LearningOrder) -> Learned:
        """The finds of one trial. Raises EnvironmentFailed, SetupFailed."""
        async with self._comfyui.on_trial(build.digest, tuple(order.hosts)) as comfyui:
            _check_door(comfyui.spec)
            message = await _ended(comfyui, order)
            await comfyui.stop()
            refused = sorted(f"{host}:{port}" for (host, port), used in comfyui.egress.items() if used.refused)
            files = await asyncio.to_thread(self.found_in, comfyui.base, build, comfyui.spec.egress.hosts)
        return Learned(order.id, files, refused[:MAX_HOSTS], message[:MAX_MESSAGE])

    def found_in(self, base: Path, build: Build, hosts: tuple[str, ...]) -> list[FoundFile]:
        """The files below a base folder that the build does not have; addresses are asked at these hosts only."""
        fetched, by_url = _recorded(base), dict[str, str]()
        pins = self._cache.pin_folder(PINS, build.digest)
        found = []
        try:
            for made in _made_in(base, build):
                url = self._address_of(made, candidates(made.path, fetched, hosts), by_url, pins)
                if url or made.size >= UNKNOWN_BYTES:
                    found.append(FoundFile(made.path, made.sha256, made.size, url))
                if len(found) == MAX_FOUND:
                    break
        finally:
            self._cache.unpin(pins)
        return found

    def _address_of(self, made: _Made, urls: list[str], by_url: dict[str, str], pins: Path) -> str:
        """The first address at which the same bytes are found; "" if there is none."""
        for url in urls:
            if url not in by_url and len(by_url) < MOST_FETCHES:
                by_url[url] = self._sha256_at(url, made.path, pins / str(len(by_url)))
            if by_url.get(url) == made.sha256:
                return url
        return ""

    def _sha256_at(self, url: str, path: str, pin: Path) -> str:
        try:
            wanted = WantedFile(path, Url(url), immutable=True)
            return self._cache.obtain(wanted, pin, lambda done, total: None, Stop()).sha256
        except ComfywardError as error:
            log.info("an address that packs fetched: %s", error, extra={"action": "learning_refetch_failed"})
            return ""


def _check_door(spec: ComfySpec) -> None:
    """Raises SetupFailed if nothing can be fetched in this sandbox, or nothing would be seen of it."""
    if not walls.has_door(spec.level, spec.access(spec.base_dir)):
        raise SetupFailed(
            f"The sandbox of this worker ('{spec.level}') lets packs reach no single hosts, so nothing can be learned.",
            hint="Learn on a host that has bubblewrap, without COMFYWARD_SANDBOX_NETWORK; or write the files by hand.",
        )


async def _ended(comfyui: Generation, order: LearningOrder) -> str:
    """Starts ComfyUI, which imports the packs, and executes the graph. Returns a sentence on what failed, or ""."""
    try:
        async with asyncio.timeout(LONGEST_S):
            await comfyui.ensure()
            return await _executed(comfyui, order.graph) if order.graph else ""
    except TimeoutError:
        return f"It took longer than {LONGEST_S:.0f} s, and was ended."
    except (SetupFailed, ComfyUIError) as error:
        return error.message


async def _executed(comfyui: Generation, graph: str) -> str:
    prompt_id = new_uuid()
    await comfyui.client.submit(prompt_id, msgspec.Raw(graph.encode()), msgspec.Raw(b"null"), {})
    try:
        async with asyncio.timeout(LONGEST_GRAPH_S):
            history = await trial.finished(comfyui.client, prompt_id)
    except TimeoutError:
        return f"The graph took longer than {LONGEST_GRAPH_S:.0f} s."
    if history.succeeded:
        return ""
    said = history.message("execution_error") or {}
    return f"The graph failed: {said.get('exception_message', history.status)}"


def _recorded(base: Path) -> list[str]:
    """The addresses that ComfyUI says it has asked for."""
    *folder, name = RECORD
    try:
        with beneath.opened(base, folder) as opened, os.fdopen(beneath.open_file(opened, [name]), "rb") as file:
            lines = file.read(RECORD_BYTES).splitlines()
    except FileNotFoundError:
        return []
    return [url for line in lines if (url := _text_in(line))]


def _text_in(line: bytes) -> str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return found if isinstance(found, str) and found.isprintable() else ""


def _made_in(base: Path, build: Build) -> Iterator[_Made]:
    """The files in the folders of packs, models and home that the build does not have."""
    entries, left = [MOST_ENTRIES], MOST_BYTES
    for root, place in _ROOTS:
        original = build.packs if root == PACKS else build.files / root
        try:
            with beneath.opened(base, place) as top:
                for parts, real in _files(top, (), entries):
                    if os.path.lexists(original.joinpath(*parts)):
                        continue
                    made = _hashed(top, root, parts, real, left)
                    if made is not None:
                        left -= made.size
                        yield made
        except FileNotFoundError:
            continue


def _files(top: int, parts: tuple[str, ...], entries: list[int]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(path, path of the regular file behind it) of the files below a folder; links lead to files beside them only."""
    try:
        here = beneath.open_folder(top, parts)
    except FileNotFoundError:
        return
    try:
        with os.scandir(here) as found:
            listed = sorted(found, key=lambda entry: entry.name)[: max(entries[0], 0)]
            entries[0] -= len(listed)
            kinds = [(e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in listed]
        targets = {name: os.readlink(name, dir_fd=here) for name, _, is_link in kinds if is_link}
    except OSError:
        return
    finally:
        os.close(here)
    for name, is_folder, is_link in kinds:
        path = (*parts, name)
        if is_folder and name not in _PASSING and len(path) < DEEPEST:
            yield from _files(top, path, entries)
        elif is_link:  # where it leads out, no file is opened
            yield path, tuple(os.path.normpath("/".join((*parts, targets[name]))).split("/"))
        elif not is_folder and not name.endswith(_UNFINISHED):
            yield path, path


def _hashed(top: int, root: str, parts: tuple[str, ...], real: tuple[str, ...], left: int) -> _Made | None:
    """None for what is no regular file, is empty, too large, or at no place that a spec may name."""
    try:
        path = parse_place("/".join((root, *parts)))
        opened = beneath.open_file(top, real)
    except (InvalidEnvironment, FileNotFoundError, UnicodeError):
        return None
    with os.fdopen(opened, "rb") as file:
        size = os.fstat(opened).st_size
        if not 0 < size <= left:
            return None
        hasher, done = hashlib.sha256(), 0
        while done < size and (piece := file.read(min(CHUNK_BYTES, size - done))):
            hasher.update(piece)
            done += len(piece)
    return _Made(path, hasher.hexdigest(), done)
