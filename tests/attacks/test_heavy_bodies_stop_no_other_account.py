"""Bodies of millions of values and graphs of tens of thousands of nodes: others are answered before they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests import loopback
from tests.stack.conftest import StartFake
from tests.stack.stack import Client, Stack

MANY_VALUES = b"[" + b"[]," * 10_000_000 + b"[]]"
INPUTS = b",".join(b'"input %d":1' % number for number in range(10))
NODE = b'"%d":{"class_type":"A","inputs":{' + INPUTS + b"}}"
NODES = b"{" + b",".join(NODE % number for number in range(19_000)) + b"}"
TOO_LARGE_GRAPH = b'{"1":{"class_type":"A","inputs":{"text":"' + b"a" * (4 << 20) + b'"}}}'
HEAVY = 10  # so many take far longer than a few light requests, also where the machine is busy
PLACES = {
    "/api/v1/workflows/default/runs": b"prompt",
    "/api/v1/workflows": b"prompt",
    "/api/v2/jobs": b"workflow",
    "/comfy/prompt": b"prompt",
}


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once().wait_ready()


def body_of(path: str, graph: bytes) -> bytes:
    return b'{"' + PLACES[path] + b'":' + graph + b"}"


@pytest.mark.parametrize("path", PLACES)
def test_millions_of_values_are_refused(stack: Stack, path: str) -> None:
    ada = stack.client("ada")
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda _: ada.http.post(path, content=body_of(path, MANY_VALUES)), range(3)))

    assert [answer.status_code for answer in answers] == [400] * 3
    assert all("more than 500000 values" in answer.text for answer in answers)


@pytest.mark.parametrize("path", PLACES)
def test_a_graph_has_a_limit_of_its_own(stack: Stack, path: str) -> None:
    answer = stack.client("ada").http.post(path, content=body_of(path, TOO_LARGE_GRAPH))

    assert answer.status_code == 413, answer.text[:300]


@pytest.mark.parametrize("path", PLACES)
def test_another_account_is_answered_before_heavy_graphs_are(stack: Stack, path: str) -> None:
    ada, bob = stack.client("ada"), stack.client("bob")
    body, answered = body_of(path, NODES), list[str]()
    sent = threading.Barrier(HEAVY + 1)

    def heavy(client: Client) -> httpx2.Response:
        def pieces() -> Iterator[bytes]:
            yield body
            sent.wait(60)

        answer = client.http.post(path, content=pieces())
        answered.append("heavy")
        return answer

    with ThreadPoolExecutor(HEAVY) as threads:
        answers = [threads.submit(heavy, ada) for _ in range(HEAVY)]
        sent.wait(60)
        for _ in range(5):
            assert bob.http.get("/api/v1/me").status_code == 200
        answered.append("light")
        assert all(answer.result().status_code < 500 for answer in answers)

    assert sorted(answered) == [*["heavy"] * HEAVY, "light"]
    assert answered[-1] == "heavy"  # those of one account are read one after the other


@pytest.mark.parametrize(
    ("path", "start", "status", "values"),
    [
        ("/worker/v1/reports", b'{"lease":"x","reports":[{"type":"produced","shown":', 400, 2_000_000),
        ("/worker/v1/lease", b'{"worker_id":"x","incarnation":"x","warm":', 413, 20_000),
        ("/worker/v1/heartbeat", b'{"worker_id":"x","incarnation":"x","leases":', 413, 20_000),
        ("/worker/v1/hello", b'{"worker":', 413, 20_000),
    ],
)
def test_messages_of_workers_are_counted_too(stack: Stack, path: str, start: bytes, status: int, values: int) -> None:
    headers = {"Authorization": f"Bearer {stack.cli('tokens', 'create', f'for {path}').strip()}"}
    large = loopback.post(f"{stack.url}{path}", content=start + MANY_VALUES + b"}", headers=headers, timeout=60)
    fewer = b"[" + b"[]," * values + b"[]]"
    small = loopback.post(f"{stack.url}{path}", content=start + fewer + b"}", headers=headers, timeout=60)

    assert [large.status_code, small.status_code] == [status, 400], large.text
    assert f"more than {values} values" in small.text
