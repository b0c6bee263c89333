"""Serves ComfyUI's application on a Unix socket, so that no TCP port needs to be reachable."""

import asyncio
import os

from aiohttp import web

FROZEN_POLL_S = 0.02


def open_when_ready(server, on_ready):
    """Opens the socket once ComfyUI and all packs are loaded, after calling `on_ready`."""
    path = os.environ.get("COMFYWARD_SOCKET")
    if path:
        server.comfyward_socket = server.loop.create_task(_open(server, path, on_ready))


async def _open(server, path, on_ready):
    # ComfyUI does not signal that its application is set up; a frozen one is complete.
    while not server.app.frozen:  # noqa: ASYNC110
        await asyncio.sleep(FROZEN_POLL_S)
    on_ready()
    runner = web.AppRunner(server.app, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, path).start()
