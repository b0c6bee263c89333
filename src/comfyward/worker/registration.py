"""The registration of a worker at its server."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from comfyward.errors import WorkerIdTaken
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import Hello, Welcome

log = logging.getLogger(__name__)

ID_TAKEN_PAUSE_S = 2.0


async def registered(link: ServerLink, hello: Hello, drained: asyncio.Event) -> Welcome | None:
    """Waits while another worker has this id, such as one that died just now; None if drained meanwhile."""
    while not drained.is_set():
        try:
            return await link.hello(hello)
        except WorkerIdTaken as taken:
            log.warning("waiting to join: %s %s", taken.message, taken.hint, extra={"action": "worker_id_taken"})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(drained.wait(), ID_TAKEN_PAUSE_S)
    return None
