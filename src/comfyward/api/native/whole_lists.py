"""Lists for clients that page by offset, or not at all: as long as asked for, though the runs may be large.

One batch of runs is in memory at a time, and made JSON beside the event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import streamed
from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.runs.run import Run
from comfyward.store import run_parts
from comfyward.store.db import Database
from comfyward.store.lists import LIST_BYTES, Listed, batches
from comfyward.store.run_parts import Outline

T = TypeVar("T")


class WholeLists:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def compact(self, account_id: str, listed: Iterable[Outline], show: Callable[[Run], T]) -> list[T]:
        """Each run as it is shown without its graph, which must be short: all are kept in memory."""
        shown: list[T] = []
        for batch in batches(listed, lambda each: each.others_size):
            shown += await self._shown(account_id, batch, lambda found: [show(run) for run in found], with_graphs=False)
        return shown

    async def members(
        self, account_id: str, listed: Iterable[Outline], show: Callable[[Sequence[Run]], bytes]
    ) -> AsyncIterator[bytes]:
        """The members of a JSON object or array, as shown of each batch, with commas between."""
        is_first = True
        for batch in batches(listed, lambda each: each.size):
            if shown := await self._shown(account_id, batch, show):
                if not is_first:
                    yield b","
                yield shown
                is_first = False

    async def _shown(
        self, account_id: str, batch: Listed[Outline], show: Callable[[Sequence[Run]], T], *, with_graphs: bool = True
    ) -> T:
        run_ids = [each.id for each in batch.rows]
        found = await self._db.read(run_parts.those, account_id, run_ids, with_graphs=with_graphs)
        return await HEAVY.run(account_id, batch.size, lambda: show(found))


async def json_of(request: Request, listed: Iterable[Outline], pieces: AsyncIterator[bytes]) -> Response:
    """Pieces of JSON with these runs as an answer, which is sent piece by piece if it is too large for the memory."""
    if sum(each.size for each in listed) > LIST_BYTES:
        return streamed(request, pieces, media_type="application/json")
    return Response(b"".join([piece async for piece in pieces]), media_type="application/json")
