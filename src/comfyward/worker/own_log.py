"""The log of a worker's own process, which an admin may ask for."""

from __future__ import annotations

import logging
from collections.abc import Callable

import aiohttp

from comfyward.errors import ComfywardError
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import WorkerInfo
from comfyward.worker.warm import WarmComfyUI

log = logging.getLogger(__name__)


class OwnLog:
    """`tail` returns the last lines of this process."""

    def __init__(self, info: WorkerInfo, link: ServerLink, comfyui: WarmComfyUI, tail: Callable[[], str]) -> None:
        self._info, self._link, self._comfyui, self._tail = info, link, comfyui, tail

    async def send(self) -> None:
        """Sends the server the last lines, with those of the present ComfyUI."""
        text = f"{self._tail()}\n--- ComfyUI ---\n{self._comfyui.current.log_tail()}"
        try:
            await self._link.put_log(self._info.id, self._info.incarnation, text)
        except (aiohttp.ClientError, TimeoutError, OSError, ComfywardError) as error:
            log.warning("the log could not be sent: %s", error, extra={"action": "log_not_sent"})
