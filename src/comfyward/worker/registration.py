"""The registration of a worker at its server."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import aiohttp
import msgspec

from comfyward.errors import ComfywardError, InvalidRequest, Unauthenticated, WorkerIdTaken
from comfyward.worker.environment_orders import EnvironmentOrders
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import PROTOCOL, Goodbye, Heartbeat, Hello, Welcome, WorkerInfo
from comfyward.worker.unless import unless
from comfyward.worker.warm import WarmComfyUI

log = logging.getLogger(__name__)

ID_TAKEN_PAUSE_S = 2.0
UNKNOWN_WORKER = "a worker that has not joined"


class Registration:
    """Joins the server, and leaves it."""

    def __init__(
        self, info: WorkerInfo, link: ServerLink, comfyui: WarmComfyUI, environments: EnvironmentOrders
    ) -> None:
        self._info, self._link, self._comfyui, self._environments = info, link, comfyui, environments

    async def register(self, draining: asyncio.Event) -> None:
        """Tells the server what this worker is, and sends it the catalog if it has none like it.

        Returns also if drained meanwhile.
        """
        digest, body = await self._comfyui.catalog()
        info = msgspec.structs.replace(self._info, ready=self._environments.ready())
        welcome = await registered(self._link, Hello(info, digest, PROTOCOL), draining)
        if welcome is None:
            return
        if welcome.wants_catalog:
            try:
                await self._link.put_catalog(info.environment, digest, body)
            except InvalidRequest as refused:  # the server shows it, and validates with the catalog that it had
                log.error("the catalog was refused: %s", refused, extra={"action": "catalog_refused"})
        log.info("worker %s serves pool %s", info.id, info.pool, extra={"action": "worker_ready"})

    async def end(self) -> None:
        """Says goodbye. A server that does not hear it finds out by the leases."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            await self._link.goodbye(Goodbye(self._info.id, self._info.incarnation))


async def check_token(server_url: str, token: str) -> None:
    """Raises Unauthenticated for a token that the server refuses, before anything is installed or started.

    The question is a heartbeat of a worker that no server knows. A server that does not answer is waited for later.
    """
    link = ServerLink(server_url, token)
    try:
        await link.heartbeat(Heartbeat(UNKNOWN_WORKER, "", [], 0))
    except Unauthenticated:
        raise
    except (ComfywardError, aiohttp.ClientError, TimeoutError, OSError):
        return
    finally:
        await link.close()


async def registered(link: ServerLink, hello: Hello, drained: asyncio.Event) -> Welcome | None:
    """Waits for the server, and while another worker has this id, such as one that died just now; None if drained
    meanwhile."""
    while not drained.is_set():
        try:
            return await unless(link.hello(hello), drained)
        except WorkerIdTaken as taken:
            log.warning("waiting to join: %s %s", taken.message, taken.hint, extra={"action": "worker_id_taken"})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(drained.wait(), ID_TAKEN_PAUSE_S)
    return None
