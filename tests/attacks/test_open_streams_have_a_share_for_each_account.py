"""One account opens streams, websockets and long polls without end: it has its number of them, others theirs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

MOST = 5
Opened = contextlib.AbstractContextManager[int]


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="CPU", streams_per_account=str(MOST))


@contextlib.contextmanager
def answered(stack: Stack, path: str, *headers: str) -> Iterator[int]:
    """The status of a request whose connection stays open; the server has begun to wait, or has refused it."""
    lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", stack.port), timeout=120) as client:
        client.sendall("\r\n".join(lines).encode())
        yield int(client.recv(65536).split(b" ")[1])


def _by_key(client: Client) -> str:
    return f"Authorization: Bearer {client.key}"


def v1_stream(stack: Stack, account: str) -> Opened:
    ada = stack.client(account)
    return answered(stack, f"/api/v1/workflows/default/runs/{ada.submit(fake_save())}/events", _by_key(ada))


def v2_stream(stack: Stack, account: str) -> Opened:
    ada = stack.client(account)
    job = ada.http.post("/api/v2/jobs", json={"workflow": fake_save()}).json()["id"]
    return answered(stack, f"/api/v2/jobs/{job}/events", _by_key(ada))


def page(stack: Stack, account: str) -> Opened:
    cookie = stack.visitor(account).cookies["comfyward_session"]
    return answered(stack, "/live", f"Cookie: comfyward_session={cookie}")


def websocket(stack: Stack, account: str) -> Opened:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    return answered(stack, "/comfy/ws", *upgrade, key, _by_key(stack.client(account)))


WAYS: dict[Callable[[Stack, str], Opened], int] = {v1_stream: 200, v2_stream: 200, page: 200, websocket: 101}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_to_follow_counts_and_is_refused(stack: Stack, way: Callable[[Stack, str], Opened]) -> None:
    hostile, other = f"follows by {way.__name__}", f"beside {way.__name__}"
    with contextlib.ExitStack() as held:
        for _ in range(MOST):
            assert held.enter_context(way(stack, hostile)) == WAYS[way]
        for another, status in WAYS.items():
            with another(stack, hostile) as refused, another(stack, other) as beside:
                assert (refused, beside) == (429, status)
        waits = stack.client(hostile)
        assert waits.http.get(_waiting(waits)).status_code == 429
    while way_is_refused(stack, way, hostile):
        continue  # until the server has seen that the others hung up


def way_is_refused(stack: Stack, way: Callable[[Stack, str], Opened], account: str) -> bool:
    with way(stack, account) as status:
        return status == 429


def test_waiting_requests_count_too(stack: Stack) -> None:
    hostile, other = stack.client("waits"), stack.client("waits beside")
    with contextlib.ExitStack() as held:
        for _ in range(MOST):
            client = held.enter_context(socket.create_connection(("127.0.0.1", stack.port), timeout=120))
            request = f"GET {_waiting(hostile)} HTTP/1.1\r\nHost: x\r\n{_by_key(hostile)}\r\n\r\n"
            client.sendall(request.encode())
        while (status := hostile.http.get(_waiting(hostile, "0.05")).status_code) != 429:
            assert status == 200

        assert other.http.get(_waiting(other, "0.05")).status_code == 200


def test_each_api_says_it_in_its_own_form(stack: Stack) -> None:
    ada = stack.client("is told")
    run = ada.submit(fake_save())
    job = ada.http.post("/api/v2/jobs", json={"workflow": fake_save()}).json()["id"]
    message = f"You have {MOST} event streams, websockets and waiting requests open; no more are allowed."
    with contextlib.ExitStack() as held:
        for _ in range(MOST):
            held.enter_context(page(stack, "is told"))

        v1 = ada.http.get(f"/api/v1/workflows/default/runs/{run}/events").json()
        v2 = ada.http.get(f"/api/v2/jobs/{job}/events")
        with pytest.raises(InvalidStatus) as native:
            _socket(stack, ada)
        shown = stack.visitor("is told").get("/live", headers={"Accept": "text/html"})

    assert (v1["code"], v1["message"], v1["details"]) == ("too_many_streams", message, {"limit": MOST})
    assert v2.json()["error"]["code"] == "too_many_streams"
    assert v2.headers["retry-after"] == "5"
    assert native.value.response.status_code == 429
    assert b'"type":"too_many_streams"' in native.value.response.body
    assert "Too many pages or programs of your account are open." in shown.text


def test_a_client_that_connects_again_takes_its_own_place(stack: Stack) -> None:
    ada = stack.client("connects again")
    with contextlib.ExitStack() as held:
        for _ in range(MOST - 1):
            held.enter_context(websocket(stack, "connects again"))
        before = held.enter_context(_socket(stack, ada, "laptop"))
        after = held.enter_context(_socket(stack, ada, "laptop"))

        assert '"sid":"laptop"' in str(after.recv(120))
        assert _end_of(before) == (4409, "")


@pytest.mark.parametrize("frame", [b"\x81\x82\0\0\0\0{}", b"\x89\x80\0\0\0\0", b"\x00\x80\0\0\0\0"])
def test_endless_messages_end_a_websocket(stack: Stack, frame: bytes) -> None:
    """Of every kind: texts, pings, and parts of a message that has no end."""
    begins = b"\x01\x80\0\0\0\0" if frame[0] == 0 else b""
    with _socket(stack, stack.client(f"sends {frame[0]}")) as opened:
        opened.recv(120)
        opened.socket.sendall(begins + frame * 1000)

        assert _end_of(opened) == (1008, "too many messages")


def _end_of(opened: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason with which the server closes a websocket."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            opened.recv(120)
    return opened.close_code, opened.close_reason


def _waiting(client: Client, seconds: str = "60") -> str:
    return f"/api/v1/runs/{client.submit(fake_save())}?wait={seconds}"


def _socket(stack: Stack, client: Client, client_id: str = "") -> ClientConnection:
    url = f"ws://127.0.0.1:{stack.port}/comfy/ws?clientId={client_id}"
    return connect(url, additional_headers={"Authorization": f"Bearer {client.key}"}, open_timeout=120)
