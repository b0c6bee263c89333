"""Serves ComfyUI's application on the Unix socket that it was given, and on no TCP port."""

import asyncio
import os
import socket
import sys
import traceback

from aiohttp import web

FROZEN_POLL_S = 0.02


def open_when_ready(server, on_ready):
    """Opens the socket once ComfyUI and all packs are loaded, after calling `on_ready`."""
    descriptor = os.environ.pop("COMFYWARD_LISTENER", None)
    if descriptor:
        web.TCPSite = _NoSite
        listener = socket.socket(fileno=int(descriptor))
        listener.set_inheritable(False)
        server.comfyward_socket = server.loop.create_task(_open(server, listener, on_ready))


class _NoSite(web.TCPSite):
    """ComfyUI's own address, which nobody uses: where there is no network, it could not be opened."""

    async def start(self):
        pass


async def _open(server, listener, on_ready):
    # ComfyUI does not signal that its application is set up; a frozen one is complete.
    while not server.app.frozen:  # noqa: ASYNC110
        await asyncio.sleep(FROZEN_POLL_S)
    try:
        on_ready()
    except Exception:  # nobody awaits this task: ComfyUI would wait for ever
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    runner = web.AppRunner(server.app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
