"""What happens to an account's runs, as it happens, for the pages that show them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import Response
from starlette.routing import Route

from comfyward.api.body import streamed
from comfyward.api.context import Context
from comfyward.api.whole_numbers import whole_number
from comfyward.delivery.stream import PING, PING_S, frame
from comfyward.runs.event import Event, EventType, part_done
from comfyward.store import runs
from comfyward.store.db import now_ms
from comfyward.web.visit import HEADERS, Pages, Visit

MAX_CHANGED = 100
CHANGES = (EventType.STATUS, EventType.CANCELLING, EventType.STAGED)
RECONNECT = b"retry: 1000\n\n"


def routes(pages: Pages) -> list[Route]:
    return [pages.get("/live", live)]


async def live(visit: Visit) -> Response:
    """Server-Sent Events: `run` when a run changed, `progress` while one goes on. The page asks for what it shows.

    `since` is when the page was made (ms since the epoch): what changed before this stream began is told first.
    """
    since = whole_number(visit.asked("since"))
    stream = _stream(visit.context, visit.account.id, now_ms() if since is None else since)
    headers = {**HEADERS, "X-Accel-Buffering": "no"}
    return streamed(visit.request, stream, headers=headers, media_type="text/event-stream")


async def _stream(context: Context, account_id: str, since: int) -> AsyncIterator[bytes]:
    yield RECONNECT
    with context.hub.listen(account_id) as listener:
        changed = await context.db.read(runs.changed_since, account_id, since, MAX_CHANGED)
        yield b"".join(frame("run", {"run": run_id}) for run_id in changed)
        while True:
            try:
                events = await listener.all(PING_S)
            except TimeoutError:
                yield PING
                continue
            if not events:
                return
            yield b"".join(_told(events))


def _told(events: list[Event]) -> list[bytes]:
    """Several events of one run are told once."""
    changed = dict.fromkeys(event.run_id for event in events if event.type in CHANGES)
    moved = {event.run_id: part_done(event) for event in events if event.type is EventType.PROGRESS}
    return [
        *(frame("run", {"run": run_id}) for run_id in changed),
        *(frame("progress", {"run": run_id, "done": done}) for run_id, done in moved.items() if run_id not in changed),
    ]
