"""The first stage: a run's files are fetched into the host's cache while the GPU works on another run."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from comfyward.comfy.run_folders import StagedFile
from comfyward.errors import ComfywardError, FetchFailed, HostBusy, StorageFull, TooLarge
from comfyward.files.cache import Entry, HostCache, WantedFile
from comfyward.files.guard import Guard
from comfyward.files.stop import Stopped
from comfyward.paths import MODELS_ROOT
from comfyward.runs.files import Url, key_of
from comfyward.runs.run import EndReason
from comfyward.worker.attempt import Attempt, Failed
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import LEASE_HEADER, FailureReport, FileOrder, MirrorOffer
from comfyward.worker.unless import unless

log = logging.getLogger(__name__)

PARALLEL_FILES = 4
STAGING_THREADS = 32
# The worker's own server, and the object store that it sends us to, may be on private addresses: they were configured,
# not asked for by a caller.
SERVERS_OWN = Guard.allowing(["0.0.0.0/0", "::/0"])


class Stage:
    """Fetches files for runs: from the internet through the guard, from the server by lease."""

    def __init__(self, cache: HostCache, link: ServerLink, worker_id: str) -> None:
        self._cache, self._link, self._worker_id = cache, link, worker_id
        self._bringing: dict[str, asyncio.Task[None]] = {}
        # Threads of its own: a silent server must not keep the other stages from theirs.
        self._threads = ThreadPoolExecutor(STAGING_THREADS, thread_name_prefix="stage")

    async def stage(self, attempt: Attempt) -> list[StagedFile]:
        """The run's files, each a hard link that keeps its blob in the cache. Raises Failed."""
        if not attempt.assignment.files:
            return []
        try:
            staged = await unless(self._all(attempt), attempt.halt)
        finally:
            attempt.halt.downloads.set()
        if staged is None:
            raise Failed(EndReason.CANCELLED)  # at once: threads that still wait for a server end by themselves
        return staged

    async def _all(self, attempt: Attempt) -> list[StagedFile]:
        """Raises Failed with the first file that fails."""
        folder = self._cache.pin_folder(self._worker_id, attempt.lease)
        places = asyncio.Semaphore(PARALLEL_FILES)
        tasks = [
            asyncio.create_task(self._one(attempt, order, folder / str(index), places))
            for index, order in enumerate(attempt.assignment.files)
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def unstage_all(self) -> None:
        """Releases the files of runs that an earlier process of this worker had."""
        self._cache.unpin_all(self._worker_id)

    def unstage(self, attempt: Attempt) -> None:
        """Releases the run's files."""
        if attempt.assignment.files:
            self._cache.unpin(self._cache.pin_folder(self._worker_id, attempt.lease))

    async def _one(self, attempt: Attempt, order: FileOrder, pin: Path, places: asyncio.Semaphore) -> StagedFile:
        async with places:
            try:
                entry = await self._from_mirror(attempt, order, pin)
                if entry is None:
                    wanted, guard = self._wanted(order, attempt.lease), SERVERS_OWN if order.blob else None
                    entry = await self._obtain(attempt, order, wanted, pin, guard)
                    if order.keep:
                        self._bring(attempt.lease, order, entry, pin)
            except Stopped as stopped:
                raise Failed(EndReason.CANCELLED) from stopped
            except (ComfywardError, OSError) as error:
                raise _failed(order, error) from error
        return StagedFile(order.path, pin, entry.digest)

    async def _obtain(
        self, attempt: Attempt, order: FileOrder, wanted: WantedFile, pin: Path, guard: Guard | None
    ) -> Entry:
        progress = _to_loop(attempt, order.path)
        obtain = functools.partial(self._cache.obtain, wanted, pin, progress, attempt.halt.downloads, guard)
        return await asyncio.get_running_loop().run_in_executor(self._threads, obtain)

    async def _from_mirror(self, attempt: Attempt, order: FileOrder, pin: Path) -> Entry | None:
        """A model from the object store; None if it is not there or fails, and the origin is used."""
        if order.mirror is None:
            return None
        try:
            return await self._obtain(
                attempt, order, self._stored(order.path, order.mirror, attempt.lease), pin, SERVERS_OWN
            )
        except ComfywardError as error:
            log.warning(
                "%s is fetched from its origin: %s", order.path, error.message, extra={"action": "mirror_missed"}
            )
            return None

    def _bring(self, lease: str, order: FileOrder, entry: Entry, pin: Path) -> None:
        """Uploads a model that was just fetched to the object store, while the run goes on."""
        assert order.url is not None
        key = key_of(Url(order.url, headers=tuple(order.headers.items())))
        if key in self._bringing:
            return
        folder = self._cache.pin_folder(self._worker_id, f"mirror-{key}")
        held = folder / "file"
        held.unlink(missing_ok=True)
        os.link(pin, held)
        name = order.path.rpartition("/")[2]
        offer = MirrorOffer(entry.digest, entry.sha256, entry.size, name, asks_again=True)
        task = self._bringing[key] = asyncio.create_task(self._bring_now(lease, key, offer, folder))
        task.add_done_callback(lambda _: self._bringing.pop(key, None))

    async def _bring_now(self, lease: str, key: str, offer: MirrorOffer, folder: Path) -> None:
        try:
            await self._link.put_mirror(lease, key, offer, folder / "file")
        except (ComfywardError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning(
                "%s could not be kept for other hosts: %s", offer.name, error, extra={"action": "mirror_failed"}
            )
        finally:
            self._cache.unpin(folder)

    async def close(self) -> None:
        """Cancels uploads to the mirror: another worker will repeat them."""
        bringing = list(self._bringing.values())
        for task in bringing:
            task.cancel()
        await asyncio.gather(*bringing, return_exceptions=True)

    def _stored(self, path: str, digest: str, lease: str) -> WantedFile:
        """A blob from the server, by lease."""
        return stored(path, digest, self._link.blob_url(digest), {**self._link.headers, LEASE_HEADER: lease})

    def _wanted(self, order: FileOrder, lease: str) -> WantedFile:
        immutable = order.path.startswith(MODELS_ROOT)
        if order.blob:
            return self._stored(order.path, order.blob, lease)
        assert order.url is not None
        return WantedFile(order.path, Url(order.url, order.digest, tuple(order.headers.items())), immutable)


def stored(path: str, digest: str, url: str, headers: Mapping[str, str]) -> WantedFile:
    """A blob from the server. It is the same in the cache, whatever it is fetched for."""
    return WantedFile(
        path, Url(url, digest, tuple(headers.items())), immutable=True, key=f"stored-{digest}", is_our_own=True
    )


def _to_loop(attempt: Attempt, path: str) -> Callable[[int, int | None], None]:
    """Passes progress from download threads to the event loop."""
    loop = asyncio.get_running_loop()
    return lambda done, total: _call(loop, lambda: attempt.reporter.downloading(path, done, total))


def _call(loop: asyncio.AbstractEventLoop, report: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(report)


def _failed(order: FileOrder, error: Exception) -> Failed:
    host = urlsplit(order.url or "").hostname or "the server"
    details: dict[str, Any] = {"path": order.path, "host": host}
    if isinstance(error, ComfywardError):
        details |= {**error.details, "host": host, "why": error.message}
    match error:
        case StorageFull():
            return Failed(EndReason.STORAGE_FULL, FailureReport(error.message, error.hint, details=details))
        case TooLarge():
            return Failed(EndReason.OVER_LIMIT, FailureReport(error.message, error.hint, details=details))
        case FetchFailed():
            reason = EndReason.HOST_BUSY if isinstance(error, HostBusy) else EndReason.DOWNLOAD
            message = f"The file for '{order.path}' could not be fetched from {host}: {error.message}"
            return Failed(reason, FailureReport(message, error.hint, type(error).code, details=details))
        case OSError() if error.errno in (28, 122):  # ENOSPC, EDQUOT
            message = f"No space left on the worker to store '{order.path}'."
            return Failed(EndReason.STORAGE_FULL, FailureReport(message, StorageFull.hint, details=details))
        case _:
            return Failed(
                EndReason.INTERNAL, FailureReport(f"'{order.path}' could not be fetched: {error}", details=details)
            )
