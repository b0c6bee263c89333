"""Thousands of hostile requests to every route and page: none is a server error, none learns anything of the host."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable
from typing import Any

import pytest

from comfyward.worker.protocol import PROTOCOL
from tests import routes
from tests.attacks.hostile_inputs import HostileInputs, Request
from tests.attacks.raw_worker import RawWorker, catalog_of, token_for
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

SEED, COUNT = 12, 2_400
ANSWERED_WITHIN_S = 60.0
# Streams; what fetches from any host; what ends the session or account that asks.
LEFT_OUT = re.compile(r"events|/ws|stream|imports?\b|download|/logout|/account/(delete|sessions|password)|/etn/|/live")
RUN = {
    "prompt": fake_save(),
    "files": {"/input/a.txt": "data:text/plain,a"},
    "webhook": "http://127.0.0.1:9/",
    "timeout": 60,
    "priority": 1,
    "start_within": 60,
    "tags": {"a": "b"},
}
VALID = {
    "/api/v1/workflows/{workflow_id}/runs": RUN,
    "/api/v1/workflows": {"name": "a", "prompt": fake_save(), "tags": ["a"]},
    "/api/v2/jobs": {"workflow": fake_save(), "metadata": {"a": "b"}},
    "/comfy/prompt": {"prompt": fake_save(), "client_id": "a", "extra_data": {"extra_pnginfo": {"workflow": {}}}},
    "/comfy/queue": {"delete": ["a"], "clear": False},
    "/comfy/history": {"delete": ["a"], "clear": False},
    "/api/v1/environments": {"name": "a", "spec": "comfyui = '0.3.75'"},
    "/api/v1/accounts/{account_id}/storage": {"inputs": 10, "outputs": 10},
}


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(max_waiting_runs="100000").wait_ready()


@pytest.fixture(scope="module")
def described(stack: Stack) -> dict[str, Any]:
    return dict(stack.client().http.get("/openapi.json").json()["paths"])


def test_of_programs(stack: Stack, described: dict[str, Any]) -> None:
    client = stack.client("hostile-program")
    asked = [(method, path) for path, methods in described.items() for method in methods]
    attack(stack, asked, client, {"Authorization": f"Bearer {client.key}"}, COUNT)


def test_of_admins(stack: Stack, described: dict[str, Any]) -> None:
    client = stack.client()
    asked = [
        (method, path)
        for path, methods in described.items()
        for method, operation in methods.items()
        if "(admins)" in operation["summary"]
    ]
    attack(stack, asked, client, {"Authorization": f"Bearer {client.key}"}, COUNT // 4)


def test_of_browsers(stack: Stack) -> None:
    visitor = stack.visitor("hostile-browser")
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    client = stack.client("hostile-browser")
    attack(stack, routes.pages(), client, {"Cookie": cookies, "Origin": stack.url}, COUNT // 2)


def test_of_workers_and_fleets(stack: Stack) -> None:
    worker = RawWorker(stack, token_for(stack, "L4")).joined(catalog_of("FakeSave"))
    identity, client = {"Authorization": f"Bearer {worker.token}"}, stack.client("of-hostile-workers")
    attack(stack, routes.of_workers(), client, identity, COUNT // 2, messages_of(worker))


def messages_of(worker: RawWorker) -> dict[str, Any]:
    """What the server takes from a worker, by path."""
    itself = {"worker_id": worker.id, "incarnation": worker.incarnation}
    about = {"id": worker.id, "incarnation": worker.incarnation, "pool": worker.pool, "environment": "default"}
    about |= {"device": "x", "host": "x", "sandbox": "x", "versions": {"a": "1"}}
    fleet = {"name": "a", "pools": {}, "workers": []}
    return {
        "/worker/v1/hello": {"worker": about, "catalog_digest": "x", "protocol": PROTOCOL},
        "/worker/v1/lease": {**itself, "idle": True, "warm": ["a"], "holding": [], "wait_s": 0},
        "/worker/v1/heartbeat": {**itself, "leases": ["x"], "wait_s": 0, "vitals": {"warm": ["a"]}},
        "/worker/v1/goodbye": itself,
        "/worker/v1/reports": {"lease": "x", "reports": [{"type": "started", "seq": 1}]},
        "/fleet/v1/sync": fleet,
        "/fleet/v1/gone": {"worker_id": worker.id},
    }


def attack(
    stack: Stack,
    asked: Iterable[tuple[str, str]],
    client: Client,
    identity: dict[str, str],
    count: int,
    valid: dict[str, Any] = VALID,
) -> None:
    run = client.run(fake_save(), accelerator="CPU")
    ids = {"run_id": run["id"], "workflow_id": "default", "class_type": "FakeSave", "folder": "checkpoints"}
    wanted = sorted((method.upper(), path) for method, path in asked if not LEFT_OUT.search(path))
    assert wanted
    refused = taken = 0
    for request in HostileInputs(wanted, ids, SEED, valid).requests(count):
        status, answer = _answer(stack, request, identity)
        assert status < 500 or status == 501, (request, status, answer[:500])
        taken, refused = taken + (status < 300), refused + (status in (401, 403))
        assert b"Traceback (most" not in answer, request
        assert str(stack.data_dir).encode() not in answer, request
    assert refused < count / 2  # they were let in,
    assert taken > count / 50  # and found things
    assert "Traceback" not in (stack.data_dir / "server.log").read_text()
    assert stack.client("bystander").run(fake_save("goes on"), accelerator="CPU")["status"] == "COMPLETED"


def _answer(stack: Stack, request: Request, identity: dict[str, str]) -> tuple[int, bytes]:
    """Sent without a library that would correct it."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=ANSWERED_WITHIN_S)
    try:
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        headers = {"Host": f"127.0.0.1:{stack.port}", "Content-Length": str(len(request.body)), **identity}
        for name, value in {**headers, **_allowed(request)}.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders(request.body)
        answer = connection.getresponse()
        return answer.status, answer.read(1 << 20)
    finally:
        connection.close()


def _allowed(request: Request) -> dict[str, str]:
    """Its headers but for those that would replace who asks."""
    return {name: value for name, value in request.headers.items() if name not in ("Cookie", "Origin", "Host")}
