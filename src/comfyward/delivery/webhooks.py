"""Webhooks: signed, delivered from rows, retried for a day.

Signed as Standard Webhooks says (webhook-id, webhook-timestamp, webhook-signature: v1 and an HMAC-SHA256).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
from yarl import URL

from comfyward import metrics
from comfyward.delivery.names import FoundAddresses, look_up
from comfyward.errors import FetchRefused
from comfyward.files.guard import Guard
from comfyward.ids import sign_webhook
from comfyward.loop import Loop
from comfyward.runs.address import parse_address
from comfyward.runs.change import Change, RunEnded, RunStarted
from comfyward.runs.run import Run
from comfyward.store import webhooks
from comfyward.store.db import Database, now_ms
from comfyward.store.notices import Notices, Wake
from comfyward.store.webhooks import Delivery, DueDelivery, Room

LOOP_NAME = "webhooks"
PARALLEL = 128
PER_ACCOUNT = 32
PER_RECEIVER = 8  # of each account: a receiver that is slow for one account may be quick for another
TIMEOUT_S = 15.0
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 3600.0
KEPT_ANSWER_BYTES = 1000
GONE = 410

log = logging.getLogger(__name__)

# The body of a delivery; the form of a run is the API's to know.
Render = Callable[[Run], bytes]


@dataclass(frozen=True)
class Attempt:
    """The result of one attempt to deliver. `status` is None when no HTTP answer came."""

    status: int | None
    answer: str

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class WebhooksDue:
    """Wakes the loop that makes deliveries, here or at the server that makes them for all."""

    def __init__(self, notices: Notices) -> None:
        self.hint = asyncio.Event()
        self._notices = notices
        notices.wake(LOOP_NAME, self.hint)

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Their deliveries were written in the same transactions."""
        if any(isinstance(change, RunStarted | RunEnded) and change.run.webhook is not None for change in changes):
            self.send()

    def send(self) -> None:
        """A delivery may be due."""
        self.hint.set()
        self._notices.send(Wake(LOOP_NAME))


class Webhooks(Loop):
    """Makes the deliveries that are due: those of one run one after the other, and a few at once of each account."""

    name = LOOP_NAME
    interval_s = 5.0

    def __init__(self, db: Database, due: WebhooksDue, guard: Guard, render: Render, retry_s: float) -> None:
        super().__init__(due.hint, db.is_leader)  # one server for all, so that a run's webhooks come in order
        self._db, self._due, self._guard, self._render, self._retry_s = db, due, guard, render, retry_s
        self._in_flight: dict[asyncio.Task[None], Delivery] = {}
        self._alarm: asyncio.TimerHandle | None = None

    async def resend(self, account_id: str, delivery_id: str) -> None:
        """Makes a delivery of the account again. Raises NotFound."""
        await self._db.write(webhooks.resend, account_id, delivery_id, now_ms())
        self._due.send()

    async def tick(self) -> dict[str, int]:
        begun = 0
        while due := await self._db.read(webhooks.due, now_ms(), self._room()):
            begun += sum(self._begin(delivery) for delivery in due)
        await self._wake_when_due()
        return {"tried": begun}

    async def stop(self) -> None:
        await super().stop()
        if self._alarm is not None:
            self._alarm.cancel()
        for task in self._in_flight:
            task.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)

    def _room(self) -> Room:
        """The deliveries that may begin.

        An account may have as many in flight as there are places left, so some are always left for another account.
        """
        flying = self._in_flight.values()
        of_account = Counter(each.account_id for each in flying)
        of_receiver = Counter((each.account_id, each.receiver) for each in flying)
        most = min(PER_ACCOUNT, PARALLEL - len(flying))
        return Room(
            runs=frozenset(each.run_id for each in flying),
            receivers=frozenset(pair for pair, count in of_receiver.items() if count >= PER_RECEIVER),
            left={account_id: most - count for account_id, count in of_account.items()},
            left_of_others=most,
        )

    def _begin(self, due: DueDelivery) -> bool:
        """Starts a delivery, unless its receiver or account has reached its share since the rows were read."""
        delivery, room = due.delivery, self._room()
        if (delivery.account_id, delivery.receiver) in room.receivers or room.of(delivery.account_id) < 1:
            return False
        task = asyncio.create_task(self._deliver(due))
        self._in_flight[task] = delivery
        task.add_done_callback(self._landed)
        return True

    def _landed(self, task: asyncio.Task[None]) -> None:
        delivery = self._in_flight.pop(task)
        if task.cancelled():
            return
        if error := task.exception():
            log.error("delivery %s failed", delivery.id, exc_info=error, extra={"action": "webhook_failed"})
            return  # retried at the next tick, not at once
        self.wake()

    async def _wake_when_due(self) -> None:
        next_at = await self._db.read(webhooks.next_due, self._room())
        if self._alarm is not None:
            self._alarm.cancel()
        if next_at is not None and (wait_ms := next_at - now_ms()) < self.interval_s * 1000:
            self._alarm = asyncio.get_running_loop().call_later(max(0, wait_ms) / 1000, self.wake)

    async def _deliver(self, due: DueDelivery) -> None:
        try:
            attempt = await self._try(due)
        except Exception as error:  # tried again as after any failure: later, and not for ever
            log.exception("delivery %s failed", due.delivery.id, extra={"action": "webhook_failed"})
            attempt = Attempt(None, f"An unexpected error on this server ({type(error).__name__}).")
        now = now_ms()
        metrics.webhook_attempts.labels("delivered" if attempt.delivered else "failed").inc()
        next_at = None if attempt.delivered or attempt.status == GONE else self._next_at(due, now)
        await self._db.write(
            webhooks.record,
            due.delivery,
            state="delivered" if attempt.delivered else "pending" if next_at else "failed",
            status=attempt.status,
            answer=attempt.answer,
            next_attempt_at=next_at,
            now=now,
        )

    def _next_at(self, due: DueDelivery, now: int) -> int | None:
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**due.delivery.attempts) * random.uniform(0.8, 1.2)  # noqa: S311
        next_at = now + int(pause_s * 1000)
        return next_at if next_at < due.delivery.created_at + self._retry_s * 1000 else None

    async def _try(self, due: DueDelivery) -> Attempt:
        body = await asyncio.to_thread(self._render, due.run)  # it may have thousands of results
        headers = {"Content-Type": "application/json", "User-Agent": "comfyward-webhooks"}
        headers |= sign_webhook(due.secrets, due.delivery.id, int(time.time()), body)
        address = parse_address(due.delivery.url)
        url = URL(address.url, encoded=True)
        if address.authorization is not None:
            headers["Authorization"] = address.authorization
        host, timeout = url.raw_host or "", aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            names = FoundAddresses(
                await look_up(host, url.port or 0)
            )  # it keeps its place in flight: a lookup has no end of ours
            factory = self._guard.socket_factory(host)
            connector = aiohttp.TCPConnector(resolver=names, socket_factory=factory, force_close=True)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                text = (await answer.content.read(KEPT_ANSWER_BYTES)).decode("utf-8", "replace")
                return Attempt(answer.status, text)
        except FetchRefused as error:
            return Attempt(None, error.message)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Attempt(None, str(error) or type(error).__name__)
