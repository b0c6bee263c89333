"""Notices by LISTEN and NOTIFY.

A PostgreSQL notification holds 8,000 bytes and costs a transaction. So notices sent within one round trip share a
statement, and long ones are split into pieces: `<server> <message number> <pieces left> <piece>`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import psycopg
from sqlalchemy import URL

from comfyward.ids import new_id
from comfyward.store.notices import Notice, Notices

log = logging.getLogger(__name__)

_batch = msgspec.json.Decoder(list[msgspec.Raw])
_notice: msgspec.json.Decoder[Notice] = msgspec.json.Decoder(Notice)

CHANNEL = "comfyward"
PIECE_CHARACTERS = 7_800
MAX_WAITING = 20_000
RECONNECT_S = 0.5
LINGER_S = 0.005  # notices sent meanwhile go together: each message is a transaction here and a wake-up everywhere
FLUSH_TIMEOUT_S = 2.0


class PostgresNotices(Notices):
    """Listens on one connection and sends on another."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self._conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._me = new_id()
        self._waiting: deque[Notice] = deque(maxlen=MAX_WAITING)
        self._sent = 0
        self._more, self._all_sent = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._pieces: dict[tuple[str, str], list[str]] = {}
        self._closing = False

    def send(self, notice: Notice) -> None:
        self._waiting.append(notice)
        self._all_sent.clear()
        self._more.set()

    async def flush(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._all_sent.wait()

    async def listen(self) -> None:
        ready = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._with_retries(lambda: self._receive(ready)), name="notices-in"),
            asyncio.create_task(self._with_retries(self._send), name="notices-out"),
        ]
        await ready.wait()

    async def close(self) -> None:
        self._closing = True
        self._more.set()
        for task in self._tasks[1:]:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(task), FLUSH_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _with_retries(self, work: Callable[[], Awaitable[None]]) -> None:
        while not self._closing:
            try:
                await work()
            except (psycopg.Error, OSError) as error:
                log.warning(
                    "notices: the database is unreachable (%s)", type(error).__name__, extra={"action": "notices"}
                )
            except Exception:
                log.exception("notices: failed; reconnecting", extra={"action": "notices_failed"})
            await asyncio.sleep(0 if self._closing else RECONNECT_S)

    async def _receive(self, ready: asyncio.Event) -> None:
        async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as conn:
            await conn.execute(f"LISTEN {CHANNEL}")
            if ready.is_set():
                self._pieces.clear()
                self._deliver_loss()
            ready.set()
            async for notice in conn.notifies():
                for each in self._whole(notice.payload):
                    self._deliver(each)

    async def _send(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as conn:
            while self._waiting or not self._closing:
                self._more.clear()
                if self._waiting:
                    payloads = [[piece] for piece in self._cut(ascii_json(list(self._waiting)))]
                    self._waiting.clear()
                    for payload in payloads:  # one, except for long texts
                        await conn.execute(f"SELECT pg_notify('{CHANNEL}', %s)", payload)
                    await asyncio.sleep(LINGER_S)
                else:
                    self._all_sent.set()
                    await self._more.wait()

    def _cut(self, text: str) -> list[str]:
        self._sent += 1
        starts = range(0, len(text), PIECE_CHARACTERS)
        last = len(starts) - 1
        return [
            f"{self._me} {self._sent} {last - index} {text[start : start + PIECE_CHARACTERS]}"
            for index, start in enumerate(starts)
        ]

    def _whole(self, payload: str) -> list[Notice]:
        """The notices that a payload completes: none while pieces are missing, and none of this server's own."""
        sender, *rest = payload.split(" ", 3)
        if sender == self._me or len(rest) != 3:
            return []
        number, left, piece = rest
        pieces = self._pieces.setdefault((sender, number), [])
        pieces.append(piece)
        if left != "0":
            return []
        return list(_known("".join(self._pieces.pop((sender, number)))))


def _known(text: str) -> Iterator[Notice]:
    """The notices of a batch, but for those that only servers of another version understand."""
    try:
        batch = _batch.decode(text)
    except msgspec.DecodeError as error:
        log.warning("notices: a message of another version: %s", error, extra={"action": "notices"})
        return
    for each in batch:
        try:
            yield _notice.decode(each)
        except msgspec.DecodeError as error:
            log.warning("notices: one of another version: %s", error, extra={"action": "notices"})


def ascii_json(notices: list[Notice]) -> str:
    """ASCII JSON: one byte per character, so it can be split anywhere."""
    return json.dumps(msgspec.to_builtins(notices))
