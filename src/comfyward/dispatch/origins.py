"""The origins of files: the server itself asks them for a few seconds, for a SHA-256, for facts or for a description.

A few are asked at a time, one for each account: an account whose hosts are silent delays no other's models.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import msgspec

from comfyward.errors import FetchFailed, Unavailable
from comfyward.files.encoding import EncodingError
from comfyward.files.file_facts import FileFacts, facts_of
from comfyward.files.guard import Guard
from comfyward.files.origin_digests import sha256_at
from comfyward.files.remote_file import RemoteFile, Retry
from comfyward.files.stop import Stop, Stopped
from comfyward.runs.files import Url

PARALLEL = 4
TIMEOUT_S = 8.0  # of one question; a worker waits for it beside its run
TURN_S = 60.0  # until the turn of a question of which an account may have many
DESCRIPTION_BYTES = 4 << 20  # of a model with hundreds of versions

T = TypeVar("T")


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
        try:
            return await self._answer(account_id, TIMEOUT_S, functools.partial(self._ask, source))
        except TimeoutError:
            return None

    async def facts_of(self, source: Url, account_id: str) -> FileFacts:
        """The facts of a file that its origin tells. Raises Unavailable if no place becomes free."""
        try:
            return await self._answer(account_id, TURN_S, functools.partial(self._ask_facts, source))
        except TimeoutError:
            return FileFacts(source.url, problem=_silent(source))

    async def description_at(self, source: Url, account_id: str) -> Any:
        """The JSON at a URL. Raises FetchFailed, or Unavailable if no place becomes free."""
        try:
            return await self._answer(account_id, TURN_S, functools.partial(self._ask_description, source))
        except TimeoutError as error:
            raise _silent(source) from error

    async def _answer(self, account_id: str, turn_s: float, ask: Callable[[Stop], T]) -> T:
        """The answer to one question. Raises TimeoutError, or Unavailable if no place becomes free."""
        release = await self._place(account_id, turn_s)
        stop = Stop()
        asking = asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(ask, stop))
        asking.add_done_callback(lambda _: release())  # the thread may take longer than anybody waits for it
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.shield(asking)
        finally:
            stop.set()
            asking.add_done_callback(_look_at)

    async def _place(self, account_id: str, turn_s: float) -> Callable[[], object]:
        """Takes a place. Returns the function that frees it. Raises Unavailable."""
        turn = self._turns.setdefault(account_id, asyncio.Semaphore(1))
        with contextlib.ExitStack() as taken:
            try:
                async with asyncio.timeout(turn_s):
                    for each in (turn, self._places):
                        await each.acquire()
                        taken.callback(each.release)
            except TimeoutError as error:
                raise Unavailable("Too many origins of models are being asked.") from error
            return taken.pop_all().close

    def _ask(self, source: Url, stop: Stop) -> str | None:
        try:
            return sha256_at(RemoteFile(source, self._guard, TIMEOUT_S, stop))
        except FetchFailed:
            return None

    def _ask_facts(self, source: Url, stop: Stop) -> FileFacts:
        try:
            return facts_of(RemoteFile(source, self._guard, TIMEOUT_S, stop))
        except FetchFailed as error:
            return FileFacts(source.url, problem=error)

    def _ask_description(self, source: Url, stop: Stop) -> Any:
        """Raises FetchFailed."""
        remote = RemoteFile(source, self._guard, TIMEOUT_S, stop)
        try:
            return msgspec.json.decode(remote.beside(urlsplit(remote.url).path, DESCRIPTION_BYTES))
        except Retry as retry:
            raise retry.error from retry
        except (OSError, ValueError, RecursionError, EncodingError, Stopped, http.client.HTTPException) as error:
            raise FetchFailed(f"'{remote.host}' sent a description that cannot be read.", host=remote.host) from error


def _silent(source: Url) -> FetchFailed:
    host = urlsplit(source.url).hostname or ""
    return FetchFailed(f"'{host}' did not answer within {TIMEOUT_S:g} s.", host=host)


def _look_at(asked: asyncio.Future[Any]) -> None:
    """An answer that came too late is nobody's: its error is not logged as lost."""
    if not asked.cancelled():
        asked.exception()
