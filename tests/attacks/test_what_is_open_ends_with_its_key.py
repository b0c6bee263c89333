"""Somebody is logged out, loses a key or is gone: what they had open before tells them nothing more, on any server."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.several_servers

REFUSED = 4401
MOST_PINGS = 8


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    """A server without workers, so that runs wait."""
    return start_fake_once(fleet="none", accelerators="CPU")


@dataclass(frozen=True)
class Person:
    """An account with a browser and a program."""

    stack: Stack
    name: str
    browser: httpx2.Client
    program: Client

    @classmethod
    def of(cls, stack: Stack, name: str) -> Person:
        return cls(stack, name, stack.visitor(name), stack.client(name))

    @property
    def cookie(self) -> str:
        return f"Cookie: comfyward_session={self.browser.cookies['comfyward_session']}"

    @property
    def key(self) -> str:
        return f"Authorization: Bearer {self.program.key}"


@contextlib.contextmanager
def opened(stack: Stack, path: str, header: str) -> Iterator[socket.socket]:
    """A connection whose answer has begun."""
    address = httpx2.URL(stack.url)
    with socket.create_connection((address.host, address.port), timeout=60) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc.decode()}\r\n{header}\r\n\r\n".encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        assert received.startswith(b"HTTP/1.1 200"), received
        yield client


def to_its_end(client: socket.socket) -> bytes:
    """What comes until the last chunk of an answer."""
    received = b""
    while not received.endswith(b"0\r\n\r\n"):
        more = client.recv(65536)
        assert more, f"hung up after {received[-1000:]!r}"
        received += more
        assert received.count(b": ping\n") + received.count(b": keepalive\n") < MOST_PINGS
    return received


def v1(person: Person) -> str:
    return f"/api/v1/workflows/default/runs/{waiting_run(person)}/events"


def v2(person: Person) -> str:
    job = person.program.http.post("/api/v2/jobs", json={"workflow": fake_save()}).json()["id"]
    return f"/api/v2/jobs/{job}/events"


def live(_: Person) -> str:
    return "/live"


def waiting_run(person: Person) -> str:
    return person.program.submit(fake_save())


def logs_out(person: Person) -> None:
    assert person.browser.post("/logout").status_code == 303


def logs_other_browsers_out(person: Person) -> None:
    other = person.stack.visitor(person.name)
    assert other.post("/account/sessions/end").status_code == 303


def revokes(person: Person) -> None:
    for key_id in re.findall(r"/account/keys/([^/]+)/revoke", person.browser.get("/account").text):
        assert person.browser.post(f"/account/keys/{key_id}/revoke").status_code == 303


def leaves(person: Person) -> None:
    assert person.browser.post("/account/delete", data={"name": person.name}).status_code == 303


Way, Act = Callable[[Person], str], Callable[[Person], None]


@pytest.mark.parametrize("act", [logs_out, logs_other_browsers_out, leaves], ids=lambda act: act.__name__)
@pytest.mark.parametrize("way", [v1, live], ids=lambda way: way.__name__)
def test_a_browsers_streams_end(stack: Stack, way: Way, act: Act) -> None:
    person = Person.of(stack, f"{act.__name__} {way.__name__}")
    with opened(stack, way(person), person.cookie) as stream:
        act(person)

        to_its_end(stream)


@pytest.mark.parametrize("act", [revokes, leaves], ids=lambda act: act.__name__)
@pytest.mark.parametrize("way", [v1, v2], ids=lambda way: way.__name__)
def test_a_programs_streams_end(stack: Stack, way: Way, act: Act) -> None:
    person = Person.of(stack, f"{act.__name__} by key {way.__name__}")
    with opened(stack, way(person), person.key) as stream:
        act(person)

        to_its_end(stream)


@pytest.mark.parametrize("act", [revokes, leaves], ids=lambda act: act.__name__)
def test_a_programs_websocket_ends(stack: Stack, act: Act) -> None:
    person = Person.of(stack, f"{act.__name__} by websocket")
    url = stack.url.replace("http", "ws") + "/comfy/ws"
    with connect(url, additional_headers={"Authorization": f"Bearer {person.program.key}"}) as websocket:
        websocket.recv(60)
        act(person)

        with contextlib.suppress(ConnectionClosed):
            while True:
                websocket.recv(60)
        assert websocket.close_code == REFUSED


def test_what_others_have_open_goes_on(stack: Stack) -> None:
    """Of the same account by another key, and of other accounts."""
    person, other = Person.of(stack, "goes"), Person.of(stack, "stays")
    stays = waiting_run(person)
    events = f"/api/v1/workflows/default/runs/{stays}/events"
    others = f"/api/v1/workflows/default/runs/{(of_other := waiting_run(other))}/events"
    with (
        opened(stack, events, person.key) as gone,
        opened(stack, events, person.cookie) as kept,
        opened(stack, others, other.key) as beside,
    ):
        revokes(person)
        assert b'"cancelled"' not in to_its_end(gone)

        Client(person.browser).cancel(stays)
        other.program.cancel(of_other)
        assert b'"cancelled"' in to_its_end(kept)
        assert b'"cancelled"' in to_its_end(beside)
