"""Group commit: pending writes share one commit, which costs a round trip and a disk sync."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

from comfyward.errors import Unavailable
from comfyward.store.statement import Question, ask_together

R = TypeVar("R")

MAX_SHARED = 64


@dataclass(frozen=True)
class Outcome:
    """A write's result, or the exception that it raised."""

    result: Any = None
    failure: BaseException | None = None


@dataclass(eq=False)
class Write:
    """A pending operation, called with the connection and the answer to its first question, if it has one."""

    call: Callable[..., Any]
    answer: asyncio.Future[Any]
    first: Question | None = None
    asked_at_s: float = field(default_factory=time.monotonic)

    def run(self, conn: Connection) -> Any:
        return self.call(conn) if self.first is None else self.call(conn, self.first.ask(conn))


def run_together(conn: Connection, writes: Sequence[Write]) -> list[Any]:
    """Runs writes in one transaction, one after the other; their first questions are asked before, together."""
    answers = iter(ask_together(conn, [write.first for write in writes if write.first is not None]))
    return [write.call(conn) if write.first is None else write.call(conn, next(answers)) for write in writes]


class Writers:
    """Threads that each take all pending writes (at most MAX_SHARED) and pass them to `commit`.

    `commit` returns an outcome for each write once all are durable; it must not raise.
    """

    def __init__(self, threads: int, commit: Callable[[Sequence[Write]], Sequence[Outcome]]) -> None:
        self._commit, self._is_closed = commit, False
        self._waiting: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name="db-write", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    async def write(self, call: Callable[..., R], first: Question | None = None) -> R:
        """Runs an operation and returns its result once durable. Raises its exception, or Unavailable after `close`."""
        if self._is_closed:
            raise Unavailable("The database is closed.")
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.put(Write(call, answer, first))
        # A caller that is cancelled must not cancel a write that shares a commit with others.
        return await asyncio.shield(answer)

    def close(self) -> None:
        """Finishes the pending writes."""
        self._is_closed = True
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        closing = False
        while not closing and (first := self._waiting.get()) is not None:
            shared, closing = self._shared(first)
            _resolve(shared, self._commit(shared))

    def _shared(self, first: Write) -> tuple[list[Write], bool]:
        shared = [first]
        while len(shared) < MAX_SHARED:
            try:
                write = self._waiting.get_nowait()
            except queue.Empty:
                break
            if write is None:
                return shared, True
            shared.append(write)
        return shared, False


def _resolve(writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
    """Wakes each event loop once for all its writes."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Outcome]]] = {}
    for write, outcome in zip(writes, outcomes, strict=True):
        by_loop.setdefault(write.answer.get_loop(), []).append((write.answer, outcome))
    for loop, settled in by_loop.items():
        with contextlib.suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: Sequence[tuple[asyncio.Future[Any], Outcome]]) -> None:
    for answer, outcome in settled:
        if outcome.failure is None:
            answer.set_result(outcome.result)
        else:
            answer.set_exception(outcome.failure)
