"""Jobs, history and queue of ComfyUI's API miss no run, however large the runs are: their clients page by offset."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import Connection, update
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse

from comfyward.accounts.account import Account, Caller
from comfyward.api.native.history import History
from comfyward.api.native.jobs import Jobs
from comfyward.api.native.queue import Queue
from comfyward.api.native.scope import Scopes
from comfyward.dispatch.catalogs import Catalogs
from comfyward.dispatch.inventory import Inventory
from comfyward.runs.run import State
from comfyward.store.lists import LIST_BYTES, batches
from comfyward.store.schema import runs
from tests.store.conftest import Store

TEXT = "a" * (4 << 20)
GRAPH = f'{{"1":{{"class_type":"Text","inputs":{{"text":"{TEXT}"}}}}}}'
RESULTS = f'{{"outputs":{{"1":{{"text":["{TEXT}"]}}}},"meta":{{}}}}'
FITTING = LIST_BYTES // len(GRAPH)
MANY = FITTING + 2
SOME = FITTING + 1  # as a client asks for, and more than one batch


class Of:
    """Callers that are all one account."""

    is_bound = False

    def __init__(self, account: Account) -> None:
        self._account = account

    async def of(self, request: HTTPConnection) -> Caller:
        return Caller(self._account, None)


class Asked:
    """ComfyUI's lists of an account."""

    def __init__(self, store: Store, account: Account) -> None:
        scopes = Scopes(store.db, Of(account))
        inventory = Inventory(store.db, Catalogs(store.db), [], {}, None)
        self._jobs = Jobs(store.db, scopes)
        self._history = History(store.db, scopes, inventory, 1 << 20)
        self._queue = Queue(store.db, scopes, inventory, 0)

    def jobs(self, query: str = "") -> Any:
        return _json(self._jobs.find, query)

    def history(self, query: str = "") -> Any:
        return _json(self._history.find, query)

    def queue(self) -> Any:
        return _json(self._queue.queue, "")


@pytest.fixture
def asked(store: Store) -> Asked:
    return Asked(store, store.alice)


@pytest.fixture
def over(store: Store) -> list[str]:
    """The prompt ids of runs with large results, newest first."""
    run_ids = [store.new_run(f"r{number}", created_at=1000 - number) for number in range(MANY)]
    store.write(_end, run_ids)
    return [f"prompt-{run_id}" for run_id in run_ids]


def test_a_page_of_jobs_has_the_length_that_was_asked_for(asked: Asked, over: list[str]) -> None:
    first, rest = asked.jobs(f"limit={SOME}"), asked.jobs(f"limit={SOME}&offset={SOME}")

    assert [each["id"] for each in (*first["jobs"], *rest["jobs"])] == over
    assert first["jobs"][0]["preview_output"]["truncated"]
    assert first["pagination"] == {"offset": 0, "limit": SOME, "total": MANY, "has_more": True}
    assert rest["pagination"] == {"offset": SOME, "limit": SOME, "total": MANY, "has_more": False}


def test_jobs_in_another_order_and_of_some_states(asked: Asked, over: list[str]) -> None:
    oldest = asked.jobs(f"limit={SOME}&sort_order=asc&status=completed")

    assert [each["id"] for each in oldest["jobs"]] == over[::-1][:SOME]
    assert asked.jobs("status=failed")["jobs"] == []


def test_a_history_has_the_length_that_was_asked_for(asked: Asked, over: list[str]) -> None:
    newest = asked.history(f"max_items={SOME}")
    from_the_oldest = asked.history(f"max_items={SOME}&offset=1")

    assert list(newest) == over[:SOME][::-1]
    assert list(from_the_oldest) == over[::-1][1:]
    assert {entry["outputs"]["1"]["text"][0] for entry in newest.values()} == {TEXT}


def test_histories_without_runs(asked: Asked, over: list[str]) -> None:
    assert asked.history(f"offset={MANY}") == asked.history("max_items=0") == asked.history("max_items=-1") == {}


def test_a_small_history_says_its_length(store: Store, asked: Asked) -> None:
    assert asked.history() == {}
    store.new_run("small")
    store.write(_end, ["small"], '{"outputs":{},"meta":{}}')

    assert list(asked.history()) == ["prompt-small"]


def test_the_queue_is_whole(store: Store, asked: Asked) -> None:
    waiting = [store.new_run(f"r{number}", prompt=GRAPH, created_at=1000 + number) for number in range(MANY)]
    running = store.new_run("running", prompt=GRAPH, created_at=999)
    store.new_run("bobs", store.bob)
    store.write(_start, running)

    queue = asked.queue()

    pending = queue["queue_pending"]
    assert [item[:2] for item in queue["queue_running"]] == [[999, "prompt-running"]]
    assert [item[1] for item in pending] == [f"prompt-{run_id}" for run_id in waiting]
    assert [item[0] for item in pending] == [1000 + number for number in range(MANY)]
    assert all(item[2] == json.loads(GRAPH) and item[4] == [] for item in pending)


def test_an_empty_queue(asked: Asked) -> None:
    assert asked.queue() == {"queue_running": [], "queue_pending": []}


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [([], []), ([9], [[9]]), ([4, 4, 1], [[4, 4], [1]]), ([1, 9, 1], [[1], [9], [1]]), ([8, 1], [[8], [1]])],
)
def test_batches_hold_as_much_as_they_may_and_one_in_any_case(sizes: list[int], parts: list[list[int]]) -> None:
    found = list(batches(sizes, lambda size: size, most=8))

    assert [each.rows for each in found] == parts
    assert [each.size for each in found] == [sum(part) for part in parts]
    assert [each.is_cut for each in found] == [True] * (len(parts) - 1) + [False] * bool(parts)


def _start(conn: Connection, run_id: str) -> None:
    values = {"state": State.RUNNING, "lease": "lease", "lease_expires_at": 9_000}
    conn.execute(update(runs).where(runs.c.id == run_id).values(**values))


def _end(conn: Connection, run_ids: list[str], results: str = RESULTS) -> None:
    values = {"state": State.SUCCEEDED, "finished_at": 5_000, "end_reason": "completed", "node_results": results}
    conn.execute(update(runs).where(runs.c.id.in_(run_ids)).values(**values))


def _json(handler: Callable[[Request], Awaitable[Response]], query: str) -> Any:
    """The JSON of an answer, which says its length unless it is large."""

    async def body() -> bytes:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": query.encode()}
        response = await handler(Request({**scope, "path_params": {}}))
        if not isinstance(response, StreamingResponse):
            assert int(response.headers["content-length"]) == len(response.body)
            return bytes(response.body)
        pieces = [bytes(piece) async for piece in response.body_iterator if not isinstance(piece, str)]
        assert sum(map(len, pieces)) > LIST_BYTES
        assert max(map(len, pieces)) < LIST_BYTES + (1 << 20)
        return b"".join(pieces)

    return json.loads(asyncio.run(body()))
