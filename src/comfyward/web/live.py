"""Live updates for the pages that show an account's runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import Response

from comfyward.api.following import Following
from comfyward.api.whole_numbers import whole_number
from comfyward.delivery.hub import Listener
from comfyward.delivery.stream import PING, PING_S, frame
from comfyward.runs.event import Cancelling, Event, Progress, Staged, Status
from comfyward.store import runs
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Page
from comfyward.web.page_request import HEADERS, PageRequest

MAX_CHANGED = 100
CHANGES = (Status, Cancelling, Staged)
RECONNECT = b"retry: 1000\n\n"


class LiveUpdates:
    def __init__(self, db: Database, following: Following) -> None:
        self._db, self._following = db, following

    def pages(self) -> list[Page]:
        return [Page("GET", "/live", self.stream, "Changes of the account's runs, as Server-Sent Events")]

    async def stream(self, request: PageRequest) -> Response:
        """Sends `run` when a run has changed, and `progress`; the page then requests what it shows.

        `since` is when the page was rendered (ms since the epoch): changes after that are sent first.
        """
        account_id, sent = request.account.id, whole_number(request.query("since"))
        since = now_ms() if sent is None else sent
        return self._following.answer(
            request.http, account_id, account_id, lambda listener: self._frames(listener, account_id, since), HEADERS
        )

    async def _frames(self, listener: Listener, account_id: str, since: int) -> AsyncIterator[bytes]:
        yield RECONNECT
        changed = await self._db.read(runs.changed_since, account_id, since, MAX_CHANGED)
        yield b"".join(frame("run", {"run": run_id}) for run_id in changed)
        while True:
            try:
                events = await listener.all(PING_S)
            except TimeoutError:
                yield PING
                continue
            if not events:
                return
            yield b"".join(_frames(events))


def _frames(events: list[Event]) -> list[bytes]:
    """At most one frame per run."""
    changed = dict.fromkeys(event.run_id for event in events if isinstance(event.payload, CHANGES))
    progress = {event.run_id: event.payload.done for event in events if isinstance(event.payload, Progress)}
    return [
        *(frame("run", {"run": run_id}) for run_id in changed),
        *(
            frame("progress", {"run": run_id, "done": done})
            for run_id, done in progress.items()
            if run_id not in changed
        ),
    ]
