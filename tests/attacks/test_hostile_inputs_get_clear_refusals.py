"""Thousands of hostile requests to every route and page: none is a server error, none learns anything of the host."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

import pytest

import comfyward
from tests.attacks.hostile_inputs import HostileInputs, Request
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

SEED, COUNT = 12, 2_400
ANSWERED_WITHIN_S = 20.0
# Streams; what fetches from any host; what ends the session or account that asks.
LEFT_OUT = re.compile(r"events|/ws|stream|imports?\b|download|/logout|/account/(delete|sessions|password)|/etn/|/live")
PAGE = re.compile(r'Page\("(\w+)", "([^"]+)"')


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once().wait_ready()


def test_of_programs(stack: Stack) -> None:
    client = stack.client("hostile-program")
    described = client.http.get("/openapi.json").json()["paths"]
    routes = [(method.upper(), path) for path, methods in sorted(described.items()) for method in sorted(methods)]
    _attack(stack, routes, client, {"Authorization": f"Bearer {client.key}"}, COUNT)


def test_of_browsers(stack: Stack) -> None:
    visitor = stack.visitor("hostile-browser")
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    sources = sorted((Path(comfyward.__file__).parent / "web").glob("*.py"))
    routes = [found for source in sources for found in PAGE.findall(source.read_text())]
    _attack(stack, routes, stack.client("hostile-browser"), {"Cookie": cookies, "Origin": stack.url}, COUNT // 2)


def _attack(stack: Stack, routes: list[tuple[str, str]], client: Client, identity: dict[str, str], count: int) -> None:
    run = client.run(fake_save())
    ids = {"run_id": run["id"], "workflow_id": "default", "class_type": "FakeSave", "folder": "checkpoints"}
    wanted = [(method, path) for method, path in routes if not LEFT_OUT.search(path)]
    accepted = 0
    for request in HostileInputs(wanted, ids, SEED).requests(count):
        status, answer = _answer(stack, request, identity)
        assert status < 500 or status == 501, (request, status, answer[:500])
        accepted += status < 300
        assert b"Traceback (most" not in answer, request
        assert str(stack.data_dir).encode() not in answer, request
    assert accepted > count / 20  # they were let in, and found things
    assert "Traceback" not in (stack.data_dir / "server.log").read_text()
    assert stack.client("bystander").run(fake_save("goes on"))["status"] == "COMPLETED"


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
