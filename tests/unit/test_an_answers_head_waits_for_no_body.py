"""The head of an answer goes with its body, or at once where the body takes longer, and no answer is cut or mixed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive, Scope, Send

from comfyward.server.connections import Clients
from comfyward.server.listening import HttpServer

ANSWER = b"HTTP/1.1 200 OK\r\n"


class Application:
    """Answers with "body" once it may; echoes what was posted."""

    def __init__(self) -> None:
        self.may_send = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"] if scope["method"] == "POST" else b"body"
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
        await send(head)
        await self.may_send.wait()
        await send({"type": "http.response.body", "body": body})


def test_the_head_is_there_while_the_body_is_made() -> None:
    async def talk() -> None:
        async with talking() as (application, reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(ANSWER)
            application.may_send.set()
            assert await reader.readexactly(4) == b"body"

    asyncio.run(talk())


def test_several_requests_in_one_packet_are_answered_in_order() -> None:
    async def talk() -> None:
        async with talking() as (application, reader, writer):
            application.may_send.set()
            posted = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\n"
            writer.write(posted + b"one" + posted + b"two" + b"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n")
            for expected in (b"one", b"two"):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(ANSWER)
                assert await reader.readexactly(3) == expected
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(ANSWER)

    asyncio.run(talk())


def test_a_body_that_waits_for_the_word_to_go_on_gets_it_before_the_answer() -> None:
    async def talk() -> None:
        async with talking() as (application, reader, writer):
            application.may_send.set()
            writer.write(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            writer.write(b"one")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(ANSWER)
            assert await reader.readexactly(3) == b"one"

    asyncio.run(talk())


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[Application, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A server, and a connection to it."""
    application = Application()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = HttpServer(application, listener, Clients(per_address=0, timeout_s=60))
        serving = asyncio.create_task(server.run_until_stopped())
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            yield application, reader, writer
        finally:
            writer.close()
            server.stop()
            await serving
