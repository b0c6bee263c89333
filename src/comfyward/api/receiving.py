"""Uploads: a few of each account are received at a time, and no further than it has room. Others wait unread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from starlette.datastructures import FormData
from starlette.requests import Request

from comfyward.api.body import read_upload
from comfyward.dispatch.blobs import Blobs
from comfyward.errors import InvalidRequest

RECEIVED_EACH = 4

_turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
"""By account, for as long as somebody holds or awaits one."""


@asynccontextmanager
async def received(request: Request, account_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """The bytes of a request, once fewer than RECEIVED_EACH of its account are being received."""
    async with _turn(account_id):
        yield request.stream()


@asynccontextmanager
async def received_form(
    request: Request, blobs: Blobs, account_id: str, limit: int, invalid: type[InvalidRequest] = InvalidRequest
) -> AsyncIterator[FormData]:
    """The form of a request, received in the same way; its file stays on disk until the context ends.

    The form may name its path last, so it is received as far as the account has room for a file of any kind. Raises
    TooLarge, OverQuota, and `invalid` for a body that is no form.
    """
    async with _turn(account_id):
        room = await blobs.widest_room(account_id)
        with room.within(limit) as most:
            async with read_upload(request, most, invalid) as form:
                yield form


def _turn(account_id: str) -> asyncio.Semaphore:
    return _turns.setdefault(account_id, asyncio.Semaphore(RECEIVED_EACH))
