"""The origins of models: the server itself asks them for the SHA-256 of a file, for a few seconds.

A few are asked at a time, one for each account: an account whose hosts are silent delays no other's models.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

from comfyward.errors import FetchFailed, Unavailable
from comfyward.files.guard import Guard
from comfyward.files.remote_file import RemoteFile
from comfyward.files.stop import Stop
from comfyward.files.told import told_sha256
from comfyward.runs.files import Url

PARALLEL = 4
TIMEOUT_S = 8.0  # of one question; a worker waits for it beside its run


class Origins:
    """Asks through the guard. An origin that fails, or takes too long, tells nothing."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._places = asyncio.Semaphore(PARALLEL)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()  # by account
        # Threads of its own: a silent origin or name server must not keep the rest of the server from theirs.
        self._threads = ThreadPoolExecutor(PARALLEL, thread_name_prefix="origins")

    async def sha256_of(self, source: Url, account_id: str) -> str | None:
        """The SHA-256 that a file's origin tells; None if it tells none.

        Raises Unavailable if no place becomes free: nobody can silence an origin by keeping the places busy.
        """
        release = await self._place(account_id)
        stop = Stop()
        asking = asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(self._ask, source, stop))
        asking.add_done_callback(lambda _: release())  # the thread may take longer than anybody waits for it
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.shield(asking)
        except TimeoutError:
            return None
        finally:
            stop.set()

    async def _place(self, account_id: str) -> Callable[[], object]:
        """Takes a place. Returns the function that frees it. Raises Unavailable."""
        turn = self._turns.setdefault(account_id, asyncio.Semaphore(1))
        with contextlib.ExitStack() as taken:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    for each in (turn, self._places):
                        await each.acquire()
                        taken.callback(each.release)
            except TimeoutError as error:
                raise Unavailable("Too many origins of models are being asked.") from error
            return taken.pop_all().close

    def _ask(self, source: Url, stop: Stop) -> str | None:
        try:
            return told_sha256(RemoteFile(source, self._guard, TIMEOUT_S, stop))
        except FetchFailed:
            return None
