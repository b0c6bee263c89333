"""Sockets, and the HTTP servers on them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
from collections.abc import Iterator
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from comfyward.errors import SetupFailed
from comfyward.server.connections import Clients, HttpConnection, WebSocketConnection
from comfyward.settings import Settings

STREAM_END_S = 2
LOOPBACK = ("127.0.0.1", "localhost", "::1")
WEBSOCKET_LIMIT_BYTES = 1 << 20  # clients of ComfyUI send small messages only


class Listeners:
    """The bound sockets of a server: one for everything and, by setting, one with ComfyUI's own API at its root."""

    def __init__(self, settings: Settings) -> None:
        """Raises SetupFailed for an address that is taken, and a native port that is none, or that others could use."""
        _check_native_port(settings)
        self.main = _bind(settings.host, settings.port, "port")
        self.url = _url_of(settings.host, self.main)
        port = settings.native_port
        self.native = None if port is None else _bind(settings.host, port, "native-port")
        self.native_url = None if self.native is None else _url_of(settings.host, self.native)


class HttpServer(uvicorn.Server):
    """uvicorn on one socket, without signal handlers of its own: the server drains first."""

    def __init__(self, app: ASGIApp, listener: socket.socket, clients: Clients) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=STREAM_END_S,
                timeout_keep_alive=75,
                server_header=False,
                proxy_headers=False,  # anybody could send them; set COMFYWARD_PUBLIC_URL behind a proxy
                lifespan="off",
                http=cast("type[asyncio.Protocol]", functools.partial(HttpConnection, clients)),
                ws=cast("type[asyncio.Protocol]", functools.partial(WebSocketConnection, clients)),
                ws_max_size=WEBSOCKET_LIMIT_BYTES,
            )
        )
        self._listener = listener

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def run_until_stopped(self) -> None:
        await self.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Lets requests finish, for as long as streams have to end."""
        self.should_exit = True

    def stop_now(self) -> None:
        self.force_exit = self.should_exit = True


def check_addresses(settings: Settings) -> None:
    """Raises SetupFailed if a server of these settings could not listen: it is told before anything is installed."""
    listeners = Listeners(settings)
    for each in (listeners.main, listeners.native):
        if each is not None:
            each.close()


def _check_native_port(settings: Settings) -> None:
    if settings.native_port is None:
        if settings.native_open:
            raise SetupFailed(
                "There is no native port that could be open without a key.",
                hint="Add --native-port 8188 (or COMFYWARD_NATIVE_PORT=8188), or leave out --native-open.",
            )
        return
    if settings.native_port == settings.port != 0:
        raise SetupFailed(
            f"The native port and the port are the same, {settings.port}.", hint="Choose another --native-port."
        )
    if settings.native_open and settings.host not in LOOPBACK:
        raise SetupFailed(
            f"The native port cannot be open without a key on {settings.host}.",
            hint="Listen on 127.0.0.1, or leave out --native-open and let clients send a key.",
        )


def _bind(host: str, port: int, flag: str) -> socket.socket:
    """Raises SetupFailed, which names the `flag` of a port that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit it; without it small answers wait 40 ms for a delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # finds clients that are gone without a word
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        wrong = "host" if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL else flag
        raise SetupFailed(
            f"Cannot listen on {host}:{port}: {error.strerror}.", hint=f"Choose another --{wrong}."
        ) from error
    return listener


def _url_of(host: str, listener: socket.socket) -> str:
    """The address of the server for processes on this machine."""
    port = listener.getsockname()[1]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reachable}:{port}"
