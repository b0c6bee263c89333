"""Many requests at once, by every way in, store no more than one after the other; the neighbour has its own room."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.attacks.test_one_account_cannot_fill_the_storage import WAYS
from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack
from tests.stack.waiting import until

SIZE = 600  # bytes of each file
ROOM = 10  # files for which there is room
LIMIT = ROOM * SIZE + SIZE // 2
EACH = 8  # requests by each way


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    limits = {f"quota_{kind}_bytes": str(LIMIT) for kind in ("inputs", "models", "outputs", "unfinished")}
    return start_fake_once(fleet="none", accelerators="CPU", **limits)


def test_files_of_every_way_at_once(stack: Stack, site: Origin) -> None:
    hostile, other = stack.client("races"), stack.client("races nobody")

    def by_import(client: Client, number: int) -> httpx2.Response:
        url = site.put(f"/{number}", number.to_bytes(1, "big") + bytes(SIZE - 1))
        return client.http.post("/api/v1/imports", json={"path": f"/input/imported-{number}", "url": url})

    ways = [*WAYS, by_import]
    numbered = [(way, 1 + number) for number, way in enumerate(way for way in ways for _ in range(EACH))]
    with ThreadPoolExecutor(len(ways)) as at_once:
        answers = list(at_once.map(lambda asked: asked[0](hostile, asked[1]), numbered))

    assert {answer.status_code // 100 for answer in answers} == {2, 4}
    until(lambda waiting: not waiting, lambda: _waiting(hostile))
    used = _used(hostile, "inputs")
    assert LIMIT - SIZE < used <= LIMIT
    assert WAYS[0](other, 1).status_code == 201
    assert _used(other, "inputs") == SIZE


def test_bytes_inside_submissions_at_once(stack: Stack) -> None:
    """One of them may be over the limit, as a run's results may, and no more."""
    hostile, other = stack.client("submits"), stack.client("submits little")

    with ThreadPoolExecutor(EACH) as at_once:
        statuses = list(at_once.map(lambda number: _submits(hostile, number), range(8 * EACH)))

    assert set(statuses) == {200, 403}
    assert LIMIT <= _used(hostile, "outputs") < LIMIT + SIZE
    assert _submits(other, 0) == 200


def _waiting(client: Client) -> list[str]:
    return [each["path"] for each in client.http.get("/api/v1/imports").json() if each["state"] == "waiting"]


def _submits(client: Client, number: int) -> int:
    return client.post_run({"prompt": fake_save(), "files": {"/input/a": _inline(number)}}).status_code


def _inline(number: int) -> str:
    return "data:;base64," + base64.b64encode(number.to_bytes(1, "big") + bytes(SIZE - 1)).decode()


def _used(client: Client, kind: str) -> int:
    return int(client.http.get("/api/v1/me").json()["storage"][kind]["used"])
