"""The process that answers at the door of one ComfyUI: an HTTP proxy to the hosts of an environment, and to no other.

ComfyUI has a network of its own, in which there is nothing but this door. A request names its host; the proxy compares
that with the environment's list, asks the name server itself, and connects as the guard allows: to no private address,
whatever a name server says. It reads nothing of what passes, so a connection that it has opened stays one to that host.

    CONNECT host:port HTTP/1.1     a tunnel, as for https
    GET http://host/… HTTP/1.1     one request; the connection ends with its answer

It writes a line of JSON for each connection, and what it refuses also to ComfyUI's log, as a sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from comfyward.environments.egress import permits
from comfyward.errors import ComfywardError, FetchFailed, FetchRefused
from comfyward.files.guard import Guard
from comfyward.sandbox.inside import kernel

MOST_CONNECTIONS = 64
HEAD_BYTES, HEAD_S, CONNECT_S, IDLE_S = 32 << 10, 30.0, 20.0, 600.0
CHUNK_BYTES = 256 << 10
LONGEST_HOST = 253
_CONNECT = re.compile(rb"CONNECT (\[[0-9A-Fa-f:.]+\]|[^\s:/]+):(\d{1,5}) HTTP/1\.[01]")
_REQUEST = re.compile(
    rb"([A-Z]{1,20}) http://(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@]+)(?::(\d{1,5}))?(/[^\s]*|\?[^\s]*)? HTTP/1\.[01]"
)
_HOP_BY_HOP = (b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"host", b"te", b"upgrade")


class Order(msgspec.Struct, frozen=True):
    """Descriptors of the door and of ComfyUI's log; the hosts that may be reached, and private addresses that may."""

    door: int
    log: int
    hosts: tuple[str, ...]
    allow: tuple[str, ...]
    parent: int


class Passed(msgspec.Struct, frozen=True, tag="passed"):
    """A connection that has ended, with the bytes that ComfyUI sent and received."""

    host: str
    port: int
    sent: int
    received: int


class NotPassed(msgspec.Struct, frozen=True, tag="refused"):
    """A connection that was not made. `url` is what was asked for, as far as it could be read."""

    host: str
    port: int
    message: str
    url: str = ""


Said = Passed | NotPassed


@dataclass(frozen=True)
class Asked:
    """A request to be passed on: `head` goes to its host first, None for a tunnel."""

    host: str
    port: int
    head: bytes | None = None
    url: str = ""


class Malformed(Exception):
    """It is not a request to a proxy."""


def read(line: bytes) -> Said:
    """The message in a line."""
    said: Said = msgspec.json.decode(line, type=Said)
    return said


def parse_head(head: bytes) -> Asked:
    """The request in a head, up to its empty line. Raises Malformed."""
    first, _, rest = head.partition(b"\r\n")
    if match := _CONNECT.fullmatch(first):
        host, port = _host(match[1]), int(match[2])
        return Asked(host, port, None, f"https://{host}" if port == 443 else "")
    match = _REQUEST.fullmatch(first)
    if match is None:
        raise Malformed
    method, authority, port, path = match[1], match[2], int(match[3] or 80), match[4] or b"/"
    path = path if path.startswith(b"/") else b"/" + path
    named = authority if match[3] is None else authority + b":" + match[3]
    kept = [line for line in rest.split(b"\r\n") if line and _name_of(line) not in _HOP_BY_HOP]
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: " + named, b"Connection: close", *kept]
    url = f"http://{named.decode('ascii', 'replace')}{path.decode('ascii', 'replace')}"
    return Asked(_host(authority), port, b"\r\n".join(lines) + b"\r\n\r\n", url)


def _host(text: bytes) -> str:
    host = text.decode("ascii", "replace").strip("[]").lower().rstrip(".")
    if not host or len(host) > LONGEST_HOST or not host.isprintable() or not host.isascii():
        raise Malformed
    return host


def _name_of(line: bytes) -> bytes:
    return line.partition(b":")[0].strip().lower()


class Proxy:
    """Answers at a door."""

    def __init__(self, hosts: tuple[str, ...], guard: Guard, say: Callable[[Said], None]) -> None:
        self._hosts, self._guard, self._say = hosts, guard, say
        self._places = asyncio.Semaphore(MOST_CONNECTIONS)

    async def serve(self, door: socket.socket) -> None:
        """Answers until it is cancelled."""
        server = await asyncio.start_server(self._answer, sock=door, limit=HEAD_BYTES)
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._places:
                await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # a client that goes, or says nothing
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
        try:
            asked = parse_head(head)
        except Malformed:
            return await _refuse(
                writer, "400 This is a proxy", "Only requests to http:// and CONNECT are answered here."
            )
        try:
            there = await self._connected(asked)
        except ComfywardError as error:
            self._say(NotPassed(asked.host, asked.port, error.message, asked.url))
            status = 502 if isinstance(error, FetchFailed) and not isinstance(error, FetchRefused) else 403
            return await _refuse(writer, f"{status} {error.message.rstrip('.')}", f"{error.message} {error.hint or ''}")
        await self._join(asked, reader, writer, there)

    async def _connected(self, asked: Asked) -> socket.socket:
        """A connection to a host. Raises FetchRefused, FetchFailed."""
        if not permits(self._hosts, asked.host, asked.port):
            raise FetchRefused(
                f"The environment may not reach {asked.host}:{asked.port}.",
                hint="An admin can add the host to 'egress' in the environment's spec.",
            )
        return await asyncio.to_thread(self._guard.connect, asked.host, asked.port, CONNECT_S)

    async def _join(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: socket.socket
    ) -> None:
        there.setblocking(False)
        far_reader, far_writer = await asyncio.open_connection(sock=there)
        passed = {"sent": 0, "received": 0}

        def count(way: str, size: int) -> None:
            passed[way] += size

        try:
            if asked.head is None:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                far_writer.write(asked.head)
            up = asyncio.create_task(_pump(reader, far_writer, lambda size: count("sent", size)))
            try:
                await _pump(far_reader, writer, lambda size: count("received", size))
            finally:
                up.cancel()
                await asyncio.gather(up, return_exceptions=True)
        finally:
            far_writer.close()
            self._say(Passed(asked.host, asked.port, passed["sent"], passed["received"]))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    """Copies one way until it ends; the other way may go on."""
    while True:
        async with asyncio.timeout(IDLE_S):
            piece = await reader.read(CHUNK_BYTES)
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        count(len(piece))
    with contextlib.suppress(OSError):
        writer.write_eof()


async def _refuse(writer: asyncio.StreamWriter, status: str, text: str) -> None:
    """Refuses a request. Programs show the status line, so the reason stands in it, too."""
    body = f"{text.strip()}\n".encode("ascii", "replace")
    line = status.encode("ascii", "replace").replace(b"\r", b" ").replace(b"\n", b" ")
    head = b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    writer.write(head % (line, len(body)) + body)
    await writer.drain()


def main() -> None:
    """The process: its order is a line on its standard input. It ends with whoever started it."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    if not kernel.die_with(order.parent, signal.SIGKILL):
        return

    def say(said: Said) -> None:
        with contextlib.suppress(OSError):
            if isinstance(said, NotPassed):
                os.write(order.log, f"[comfyward] {said.message}\n".encode())
            os.write(1, msgspec.json.encode(said) + b"\n")

    with contextlib.suppress(KeyboardInterrupt), socket.socket(fileno=order.door) as door:
        asyncio.run(Proxy(order.hosts, Guard.allowing(order.allow), say).serve(door))


if __name__ == "__main__":
    main()
