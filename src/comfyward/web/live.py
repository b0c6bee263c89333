"""Live updates for the pages that show an account's runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import Response

from comfyward.api.body import event_stream
from comfyward.api.whole_numbers import whole_number
from comfyward.delivery.hub import Hub
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
    def __init__(self, db: Database, hub: Hub) -> None:
        self._db, self._hub = db, hub

    def pages(self) -> list[Page]:
        return [Page("GET", "/live", self.stream, "Changes of the account's runs, as Server-Sent Events")]

    async def stream(self, request: PageRequest) -> Response:
        """Sends `run` when a run has changed, and `progress`; the page then requests what it shows.

        `since` is when the page was rendered (ms since the epoch): changes after that are sent first.
        """
        since = whole_number(request.query("since"))
        events = self._events(request.account.id, now_ms() if since is None else since)
        return event_stream(request.http, events, self._hub.followers.place(request.account.id), HEADERS)

    async def _events(self, account_id: str, since: int) -> AsyncIterator[bytes]:
        yield RECONNECT
        with self._hub.listen(account_id) as listener:
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
