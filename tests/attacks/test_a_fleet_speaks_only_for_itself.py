"""A fleet's token reports and ends its own workers: no other fleet's, no local ones, and none that joined alone."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from sqlalchemy import Connection

from comfyward.fleet.protocol import worker_token
from comfyward.ids import hash_secret
from comfyward.store import tokens, workers
from comfyward.store.db import now_ms
from tests import loopback
from tests.attacks.raw_worker import RawWorker, graph_of, refusal
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="L4,T4")


def fleet_token(stack: Stack, name: str, pool: str | None = None) -> str:
    def made(conn: Connection) -> str:
        return tokens.create(conn, name, now_ms(), pool=pool, role="fleet")

    return stack.write(made)


def sync(stack: Stack, token: str, fleet: str, *pools: str, **more: Any) -> httpx2.Response:
    about = {"min": 0, "max": 1, "idle_timeout_s": 1, "prewarm": 0}
    reports = {pool: {**about, "token_hash": hash_secret(worker_token(token, pool))} for pool in pools}
    return loopback.post(
        f"{stack.url}/fleet/v1/sync",
        json={"name": fleet, "pools": reports, "workers": [], **more},
        headers={"Authorization": f"Bearer {token}"},
    )


def is_drained(worker: RawWorker) -> bool:
    row = worker.stack.write(workers.get, worker.id)
    assert row is not None
    return row.drain_at is not None


def worker_in(stack: Stack, token: str, pool: str, name: str) -> RawWorker:
    return RawWorker(stack, worker_token(token, pool), pool, name).joined()


@pytest.mark.parametrize("name", ["local", "farm", "gpu"])
def test_workers_of_others_are_not_drained(stack: Stack, name: str) -> None:
    other = fleet_token(stack, f"owner of {name}")
    assert sync(stack, other, f"{name}-a", "L4").status_code == 200
    theirs = worker_in(stack, other, "L4", f"{name}-a-L4-000000")
    alone = RawWorker(stack, stack.cli("tokens", "create", f"alone {name}").strip(), id=f"{name}-0").joined()

    thief = fleet_token(stack, f"thief of {name}")
    answer = sync(stack, thief, name, "L4")

    assert answer.status_code == 200
    assert answer.json()["busy"] == []
    assert [is_drained(theirs), is_drained(alone)] == [False, False]
    assert sync(stack, other, f"{name}-a", "L4", workers=[]).status_code == 200
    assert is_drained(theirs)  # by its own fleet, which does not know it


def test_a_name_in_use_is_not_taken_over(stack: Stack) -> None:
    assert sync(stack, fleet_token(stack, "first"), "named", "L4").status_code == 200

    answer = sync(stack, fleet_token(stack, "second"), "named", "L4")

    assert refusal(answer) == (403, "forbidden")


def test_a_fleet_for_one_pool_reports_no_other(stack: Stack) -> None:
    token = fleet_token(stack, "of T4", "T4")

    assert sync(stack, token, "scoped", "T4").status_code == 200
    assert sync(stack, token, "scoped", "T4", "L4").status_code == 403
    assert RawWorker(stack, worker_token(token, "L4")).hello().status_code == 401


def test_a_fleet_ends_its_own_workers_alone(stack: Stack) -> None:
    token, other = fleet_token(stack, "mine"), fleet_token(stack, "other")
    sync(stack, token, "mine", "L4")
    worker = worker_in(stack, token, "L4", "mine-L4-000000")
    stack.client().submit(graph_of(), accelerator="L4")
    lease = worker.assigned()["lease"]

    def gone(by: str) -> int:
        headers = {"Authorization": f"Bearer {by}"}
        return loopback.post(f"{stack.url}/fleet/v1/gone", json={"worker_id": worker.id}, headers=headers).status_code

    assert gone(other) == 403
    assert worker.heartbeat(lease).json()["lost"] == []
    assert gone(token) == 204
    assert worker.end(lease).status_code == 409


def test_workers_stop_with_the_token_of_their_fleet(stack: Stack) -> None:
    token = fleet_token(stack, "brief")
    sync(stack, token, "brief", "L4")
    worker_in(stack, token, "L4", "brief-L4-000000")

    stack.cli("tokens", "revoke", "brief")

    assert stack.write(tokens.in_use, hash_secret(worker_token(token, "L4"))) is None  # servers ask every two seconds


def test_a_fleet_is_told_of_its_own_pools_alone(stack: Stack) -> None:
    stack.client().submit(graph_of(), accelerator="L4")

    assert sync(stack, fleet_token(stack, "curious"), "curious", "T4").json()["queued"] == {}


def test_a_workers_token_is_for_no_fleet_and_a_fleets_for_no_worker(stack: Stack) -> None:
    plain = stack.cli("tokens", "create", "plain").strip()

    assert sync(stack, plain, "posing", "L4").status_code == 403
    assert RawWorker(stack, fleet_token(stack, "posing")).hello().status_code == 403


POOL = {"min": 0, "max": 1, "idle_timeout_s": 1, "prewarm": 0, "token_hash": "a" * 64}


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 61},
        {"pools": {"x" * 61: POOL}},
        {"pools": {f"p{number}": POOL for number in range(201)}},
        {"pools": {"L4": POOL | {"max": 10**12}}},
        {"pools": {"L4": POOL | {"min": -1}}},
        {"pools": {"L4": POOL | {"token_hash": "x"}}},
        {"pools": {"L4": POOL | {"problem": "x" * 20_001}}},
        {"workers": ["w" * 61]},
    ],
    ids=str,
)
def test_reports_out_of_bounds_are_refused(stack: Stack, wrong: dict[str, Any]) -> None:
    answer = sync(stack, fleet_token(stack, "wrong"), "wrong", **wrong)

    assert refusal(answer) == (400, "invalid_request")
