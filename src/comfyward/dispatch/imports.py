"""Imports: the server fetches a URL for an account and keeps it as a file."""

from __future__ import annotations

import asyncio
import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.model_list import ABOUT, public_address
from comfyward.dispatch.named_secrets import NamedSecrets
from comfyward.dispatch.site_files import SiteFiles
from comfyward.errors import ComfywardError, FetchFailed, NotFound
from comfyward.files.cache import HostCache, WantedFile
from comfyward.files.stop import Stop, Stopped
from comfyward.ids import new_id
from comfyward.loop import Loop
from comfyward.paths import MODELS_ROOT
from comfyward.runs.files import Url, source_from_row, source_to_row
from comfyward.store import imports
from comfyward.store.db import Database, now_ms
from comfyward.store.imports import Import
from comfyward.store.notices import Wake

log = logging.getLogger(__name__)

PARALLEL, PARALLEL_EACH = 6, 2  # in total, and per account: no account waits for another one's slow hosts
SOON_S = 1.0  # interval while something is being fetched, which is also how often progress is stored
OWNER = "imports"  # of the cache's pins, in place of a worker id


@dataclass
class _Fetching:
    stop: Stop = field(default_factory=Stop)
    done: int = 0
    total: int | None = None
    task: asyncio.Task[None] | None = None

    def progress(self, done: int, total: int | None) -> None:
        self.done, self.total = done, total


class Imports(Loop):
    """Fetches waiting imports. The files stay in the host's cache, for local workers."""

    name = "imports"
    interval_s = 5.0

    def __init__(
        self, db: Database, blobs: Blobs, site_files: SiteFiles, secrets: NamedSecrets, cache: HostCache
    ) -> None:
        super().__init__(is_leader=db.is_leader)
        db.notices.wake(self.name, self._hint)
        self._db, self._blobs, self._site_files, self._cache = db, blobs, site_files, cache
        self._secrets = secrets
        self._fetching: dict[str, _Fetching] = {}
        # Threads of its own: a slow host must not keep the rest of the server from theirs.
        self._threads = ThreadPoolExecutor(PARALLEL, thread_name_prefix="imports")

    async def add(self, account_id: str, path: str, source: Url) -> str:
        """Adds an import and returns its id.

        Raises OverQuota, InvalidUrl for a URL that the guard refuses or a page that leads to no file, and FetchFailed
        or Unavailable if Civitai has to be asked which file it is and cannot say.
        """
        source = await self._site_files.file_at(account_id, source, f"The URL of '{path}'")
        await self._blobs.room(account_id, path)
        new = Import(new_id(), account_id, path, source_to_row(source), "waiting", None, now_ms(), None)
        import_id = await self._db.write(imports.add, new)
        self.changed()
        return import_id

    async def tick(self) -> dict[str, int]:
        wanted = await self._db.read(imports.waiting, PARALLEL, PARALLEL_EACH)
        for import_id in set(self._fetching) - {each.id for each in wanted}:
            self._fetching[import_id].stop.set()
        begun = [each for each in wanted if each.id not in self._fetching]
        for each in begun:
            fetching = self._fetching[each.id] = _Fetching()
            fetching.task = asyncio.create_task(self._import(each, fetching))
        for import_id, fetching in list(self._fetching.items()):
            await self._db.write(imports.progress, import_id, fetching.done, fetching.total)
        self.interval_s = SOON_S if self._fetching else self.__class__.interval_s
        return {"begun": len(begun)}

    def changed(self) -> None:
        """Wakes this loop on every server, after an import was added or removed."""
        self.wake()
        self._db.notices.send(Wake(self.name))

    async def stop(self) -> None:
        """Interrupts the fetches; they resume at the next start."""
        await super().stop()
        for fetching in self._fetching.values():
            fetching.stop.set()
        tasks = (fetching.task for fetching in self._fetching.values() if fetching.task)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _import(self, wanted: Import, fetching: _Fetching) -> None:
        try:
            failure = await self._failure_of(wanted, fetching)
            await self._db.write(imports.progress, wanted.id, fetching.done, fetching.total)
            await self._db.write(imports.finish, wanted.id, failure, now_ms())
            self.wake()
        except Stopped:
            return
        finally:
            # Only now: while the row is waiting, a tick must see that it is being fetched.
            del self._fetching[wanted.id]

    async def _failure_of(self, wanted: Import, fetching: _Fetching) -> str | None:
        """Fetches a file. Returns None, or a message if that failed. Raises Stopped."""
        try:
            await self._fetch(wanted, fetching)
        except Stopped:
            raise
        except FetchFailed as error:
            return await self._explained(wanted, error)
        except ComfywardError as error:
            return error.message
        except OSError as error:
            return f"The file could not be stored: {error.strerror}."
        except Exception as error:  # it would be the same again
            log.exception("import %s failed", wanted.id, extra={"action": "import_failed"})
            return f"The file could not be fetched: an unexpected error on the server ({type(error).__name__})."
        return None

    async def _explained(self, wanted: Import, error: FetchFailed) -> str:
        """The message of a failure; with advice, if the host wants a token or a licence to be accepted."""
        explained = await self._secrets.explained(wanted.account_id, _source_of(wanted), error)
        return error.message if explained is error else f"{error.message} {explained.hint}"

    async def _fetch(self, wanted: Import, fetching: _Fetching) -> None:
        source = await self._secrets.with_secret(wanted.account_id, _source_of(wanted))
        folder = self._cache.pin_folder(OWNER, wanted.id)
        try:
            file = WantedFile(wanted.path, source, immutable=False)
            obtain = functools.partial(self._cache.obtain, file, folder / "file", fetching.progress, fetching.stop)
            await asyncio.get_running_loop().run_in_executor(self._threads, obtain)
            try:
                await self._db.lookup(imports.get, wanted.account_id, wanted.id)
            except NotFound as error:
                raise Stopped from error  # removed meanwhile, perhaps by another server
            about = {ABOUT: {"source": public_address(source.url)}} if wanted.path.startswith(MODELS_ROOT) else {}
            await self._blobs.keep_file(folder / "file", wanted.account_id, wanted.path, about)
        finally:
            self._cache.unpin(folder)


def _source_of(wanted: Import) -> Url:
    source = source_from_row(wanted.source)
    assert isinstance(source, Url)
    return source
