"""A node sends a thousand large previews, and two of those who follow its run read nothing: the run ends, its account
sees the end, and another account is answered and its run executed."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, node
from tests.stack.stack import Client, Stack

FLOOD = {"1": node("FakePreviews", count=1000, size=50_000), "2": node("FakeSave", text="over")}


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(lease_s="60").wait_ready()


def socket_of(stack: Stack, client: Client, client_id: str) -> ClientConnection:
    url = f"ws://127.0.0.1:{stack.port}/comfy/ws?clientId={client_id}"
    return connect(url, additional_headers={"Authorization": f"Bearer {client.key}"}, max_size=None)


def silent_stream(stack: Stack, client: Client, run_id: str) -> socket.socket:
    """A stream of a run's events that is read no further than its first bytes."""
    opened = socket.create_connection(("127.0.0.1", stack.port), timeout=60)
    path = f"/api/v1/workflows/default/runs/{run_id}/events"
    opened.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\n\r\n".encode())
    assert opened.recv(15).startswith(b"HTTP/1.1 200")
    return opened


def test_others_go_on(stack: Stack) -> None:
    hostile, other = stack.client("floods"), stack.client("beside the flood")
    with (
        socket_of(stack, hostile, "reads") as follower,
        socket_of(stack, hostile, "silent") as silent,
        ThreadPoolExecutor(1) as thread,
    ):
        for each in (follower, silent):
            each.recv(60)
        asked = {"prompt": FLOOD, "client_id": "reads"}
        prompt_id = hostile.http.post("/comfy/prompt", json=asked).json()["prompt_id"]
        run_id = hostile.http.get("/api/v1/runs").json()[0]["id"]
        with silent_stream(stack, hostile, run_id):
            while not isinstance(follower.recv(60), bytes):
                continue  # until there is a preview
            end = thread.submit(_end, follower, prompt_id)  # who reads nothing meanwhile may be cut off
            of_other = other.submit(fake_save())
            for _ in range(3):
                assert other.http.get("/api/v1/me").status_code == 200

            assert end.result() == "execution_success"
            assert hostile.finish(run_id)["status"] == "COMPLETED"
            assert other.finish(of_other)["status"] == "COMPLETED"


def _end(follower: ClientConnection, prompt_id: str) -> str:
    """The last message about a prompt."""
    while True:
        message = follower.recv(60)
        if isinstance(message, str):
            said = json.loads(message)
            if said["type"] in ("execution_success", "execution_error") and said["data"]["prompt_id"] == prompt_id:
                return str(said["type"])
