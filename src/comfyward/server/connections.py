"""Connections of clients: so many of one address, and none that is held by sending slowly.

uvicorn waits for the bytes of a request for ever. Answers may take as long as they like: long polls, event streams and
websockets are held open by the server itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

LEAST_BYTES_PER_S = 1 << 10
MOST_HEAD_BYTES = 128 << 10  # of a request's first line and headers, and of what stands around the pieces of its body
FRAMES_AT_ONCE, FRAMES_PER_S = 200, 10  # clients of ComfyUI send one message, and answer pings
TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 35\r\n\r\nToo many connections from your host"
)
HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
BAD_HANDSHAKE = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
LINGER_S = 10.0  # for which more is received and thrown away, so that an answer is not lost with it


class Frames:
    """The frames that a client may send on a websocket now: FRAMES_AT_ONCE, and FRAMES_PER_S more each second."""

    def __init__(self, now_s: float) -> None:
        self._left, self._at_s = float(FRAMES_AT_ONCE), now_s

    def take(self, count: int, now_s: float) -> bool:
        """False if there are fewer left."""
        earned = (now_s - self._at_s) * FRAMES_PER_S
        self._left, self._at_s = min(FRAMES_AT_ONCE, self._left + earned) - count, now_s
        return self._left >= 0


@dataclass(frozen=True)
class Clients:
    """The connections that are open, by address, and the limits of each. `per_address` is 0 for no limit."""

    per_address: int
    timeout_s: float
    open: Counter[str] = field(default_factory=Counter)

    def admit(self, transport: asyncio.BaseTransport) -> str | None:
        """Counts a connection. Returns its address, None if it has too many."""
        address = str((transport.get_extra_info("peername") or ("",))[0])
        if self.per_address and self.open[address] >= self.per_address:
            return None
        self.open[address] += 1
        return address

    def release(self, address: str | None) -> None:
        if address is None:
            return
        self.open[address] -= 1
        if not self.open[address]:
            del self.open[address]


class HttpConnection(HttpToolsProtocol):
    """Closed unless a request's headers arrive in time and within MOST_HEAD_BYTES, and its body at LEAST_BYTES_PER_S.

    Workers do not count once they have shown their token: hundreds of them may share an address, and each waits on two
    connections.
    """

    def __init__(self, clients: Clients, **how: Any) -> None:
        super().__init__(**how)
        self._clients = clients
        self._address: str | None = None
        self._is_refused = False
        self._deadline: asyncio.TimerHandle | None = None
        self._awaited: Callable[[], None] | None = None  # sets the deadline of what is missing of a request
        self._received, self._was_held = 0, False
        self._head_bytes = 0  # that belong to no body, received since the last that did

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self._clients.admit(transport)
        if self._address is None:
            self._is_refused = True
            transport.write(TOO_MANY)
            transport.close()
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._awaited = self._await_headers  # of the next request
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refuse_head()
        elif self._awaited is not None and self._deadline is None:  # no timer for a request that has come whole
            self._awaited()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["uncount"] = self._release

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._refuse_ambiguous()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = cast(asyncio.Transport, _HeadWithBody(self.transport, self.loop))
        self._end_deadline()
        self._awaited = self._await_body

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)
        self._received += len(body)
        self._was_held = self._was_held or self.flow.read_paused

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()
        self._end_deadline()
        self._awaited = None

    def handle_websocket_upgrade(self) -> None:
        self._end_deadline()
        self._release()  # the websocket counts itself
        super().handle_websocket_upgrade()

    def _refuse_ambiguous(self) -> None:
        """Raises ValueError, which the parser makes a 400, for what one program reads in another way than the next.

        That is several hosts (RFC 9112, 3.2), and a websocket with a body, for which nobody would wait.
        """
        names = [name for name, _ in self.headers]
        hosts = {value.lower() for name, value in self.headers if name == b"host"}
        if not self.url.startswith((b"/", b"*")):
            hosts.add(self.url.partition(b"://")[2].partition(b"/")[0].lower())
        has_body = b"transfer-encoding" in names or any(
            value != b"0" for name, value in self.headers if name == b"content-length"
        )
        if names.count(b"host") > 1 or len(hosts) > 1 or (self._should_upgrade() and has_body):
            raise ValueError

    def _refuse_head(self) -> None:
        """Ends the connection. The parser would keep a header without end in memory."""
        self._is_refused = True
        self._end_deadline()
        self.transport.write(HEAD_TOO_LARGE)
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _await_headers(self) -> None:
        self._set_deadline(self.timeout_keep_alive_handler)

    def _await_body(self) -> None:
        self._received, self._was_held = 0, False
        self._set_deadline(self._check_body)

    def _check_body(self) -> None:
        """Closes a connection whose client sends too slowly, while it is we who wait for it."""
        is_held = self._was_held or self.flow.read_paused or self.cycle.waiting_for_100_continue
        if is_held or self._received >= LEAST_BYTES_PER_S * self._clients.timeout_s:
            self._await_body()
        else:
            self.timeout_keep_alive_handler()

    def _set_deadline(self, act: Any) -> None:
        self._end_deadline()
        self._deadline = self.loop.call_later(self._clients.timeout_s, act)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _release(self) -> None:
        address, self._address = self._address, None
        self._clients.release(address)


class _HeadWithBody:
    """The transport of one answer: its head goes with the first bytes of its body, or soon if these take longer.

    uvicorn writes the two apart, and its event loop sends each at once: one call of the system, and one packet, more.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head: bytes | None = None
        self._sending: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if self._sending is None:
            self._head, self._sending = data, self._loop.call_soon(self._send_head)
        elif self._head is None:
            self._transport.write(data)
        else:
            head, self._head = self._head, None
            self._sending.cancel()
            self._transport.write(head + data)

    def close(self) -> None:
        self._send_head()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _send_head(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            self._transport.write(head)


class WebSocketConnection(WebSocketsSansIOProtocol):
    """Counts as one of its address. Ends when its client sends without pause, or no longer reads.

    Frames of every kind count, also those that uvicorn answers or gathers by itself (pings, parts of a message): their
    answers would wait in memory for a client that reads none of them.
    """

    def __init__(self, clients: Clients, **how: Any) -> None:
        super().__init__(**how)
        self._clients = clients
        self._address: str | None = None
        self._frames = Frames(self.loop.time())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._address = self._clients.admit(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        address, self._address = self._address, None
        self._clients.release(address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:  # uvicorn would leave it open
            self.transport.write(b"".join(self.conn.data_to_send()) or BAD_HANDSHAKE)
            self.transport.close()

    def handle_events(self) -> None:
        frames = sum(isinstance(event, Frame) for event in self.conn.events)
        if self._frames.take(frames, self.loop.time()):
            super().handle_events()
        else:
            self._fail("too many messages")

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()  # its client reads nothing: what is left to send would keep it open

    def _fail(self, reason: str) -> None:
        """Ends the connection without reading on."""
        if not self.close_sent:
            self.conn.fail(CloseCode.POLICY_VIOLATION, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.POLICY_VIOLATION})
            self.close_sent = True
        self.transport.close()
        self.loop.call_later(self.close_timeout, self.transport.abort)
