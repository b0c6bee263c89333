"""A token speaks only for the workers that joined with it: not for their ids, leases, logs or ends to any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy import update

from comfyward.store.schema import workers
from tests.attacks.raw_worker import RawWorker, graph_of, refusal, token_for
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

OUTPUT = "a" * 64


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="L4,T4", mirror_models="true")


@pytest.fixture(params=["L4", None], ids=["of one pool", "of any pool"])
def victim(stack: Stack, request: pytest.FixtureRequest) -> RawWorker:
    return RawWorker(stack, token_for(stack, request.param)).joined()


@pytest.fixture(params=["T4", "L4"], ids=["of T4", "of L4"])
def thief(stack: Stack, request: pytest.FixtureRequest) -> RawWorker:
    """A worker with a token of its own."""
    return RawWorker(stack, token_for(stack, request.param), request.param).joined()


def held_by(victim: RawWorker) -> dict[str, Any]:
    """A run that the victim holds."""
    victim.stack.client().submit(graph_of(), accelerator="L4")
    return victim.assigned()


def is_at_work(victim: RawWorker, lease: str) -> bool:
    return victim.heartbeat(lease).json()["lost"] == [] and victim.end(lease).status_code == 204


@pytest.mark.parametrize("incarnation", ["of its own", "of the victim"])
def test_an_id_is_not_taken_over(victim: RawWorker, thief: RawWorker, incarnation: str) -> None:
    held = held_by(victim)
    life = victim.incarnation if incarnation == "of the victim" else thief.incarnation
    pool = "L4" if thief.hello(pool="L4").status_code == 200 else "T4"

    answer = RawWorker(thief.stack, thief.token, pool, victim.id, life).hello()

    assert refusal(answer) == (409, "worker_id_taken")
    assert victim.id in answer.json()["message"]
    assert is_at_work(victim, held["lease"])


CALLS: dict[str, Callable[[RawWorker], httpx2.Response]] = {
    "ask": lambda worker: worker.ask(wait_s=0),
    "heartbeat": lambda worker: worker.heartbeat(),
    "log": lambda worker: worker.call("PUT", f"log/{worker.id}/{worker.incarnation}", content=b"forged"),
    "goodbye": lambda worker: worker.goodbye(),
    "gone": lambda worker: worker.gone(),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_call_is_made_in_its_name(victim: RawWorker, thief: RawWorker, call: str) -> None:
    held = held_by(victim)
    posing = RawWorker(thief.stack, thief.token, victim.pool, victim.id, victim.incarnation)

    answer = CALLS[call](posing)

    assert refusal(answer) == (403, "forbidden")
    assert call == "gone" or "joined with another token" in answer.json()["message"]
    assert is_at_work(victim, held["lease"])


def test_one_of_before_an_upgrade_belongs_to_no_token_of_another_pool(stack: Stack) -> None:
    old = RawWorker(stack, token_for(stack, "L4")).joined()
    stack.write(lambda conn: conn.execute(update(workers).where(workers.c.id == old.id).values(token="")))

    posing = RawWorker(stack, token_for(stack, "T4"), old.pool, old.id, old.incarnation)

    assert refusal(posing.heartbeat()) == (403, "forbidden")
    assert old.heartbeat().status_code == 200


LEASE_CALLS: dict[str, Callable[[RawWorker, str], httpx2.Response]] = {
    "staged": lambda worker, lease: worker.call(
        "POST", "reports", json={"lease": lease, "reports": [], "staged": True}
    ),
    "progress": lambda worker, lease: worker.report(lease, {"type": "cached", "nodes": []}),
    "end": lambda worker, lease: worker.end(lease),
    "blob": lambda worker, lease: worker.call("GET", f"blobs/{OUTPUT}", lease),
    "output": lambda worker, lease: worker.call(
        "POST", f"outputs/{OUTPUT}", lease, json={"name": "a.png", "size": 1, "sha256": OUTPUT}
    ),
    "output's bytes": lambda worker, lease: worker.call("PUT", f"outputs/{OUTPUT}", lease, content=b"a"),
    "stored output": lambda worker, lease: worker.call(
        "POST", f"outputs/{OUTPUT}/stored", lease, json={"name": "a.png", "size": 1, "sha256": OUTPUT}
    ),
    "mirror": lambda worker, lease: worker.offer_mirror("k" * 40, b"model", lease),
}


@pytest.mark.parametrize("call", LEASE_CALLS)
def test_a_stolen_lease_is_worth_nothing(victim: RawWorker, thief: RawWorker, call: str) -> None:
    held = held_by(victim)

    answer = LEASE_CALLS[call](thief, held["lease"])

    assert refusal(answer) == (409, "stale_lease")
    assert is_at_work(victim, held["lease"])


def test_a_heartbeat_renews_no_lease_of_another(victim: RawWorker, thief: RawWorker) -> None:
    held = held_by(victim)

    assert thief.heartbeat(held["lease"]).json()["lost"] == [held["lease"]]
    assert is_at_work(victim, held["lease"])


def test_a_worker_that_is_started_again_takes_its_own_place(victim: RawWorker) -> None:
    held = held_by(victim)
    again = RawWorker(victim.stack, victim.token, victim.pool, victim.id)

    assert again.hello().status_code == 200

    assert victim.heartbeat().status_code == 409
    assert victim.end(held["lease"]).status_code == 409
    once_more = again.assigned()
    assert once_more["run_id"] == held["run_id"]
    assert again.end(once_more["lease"]).status_code == 204


@pytest.mark.parametrize("how", ["left", "revoked"])
def test_an_id_is_free_when_its_worker_has_left(stack: Stack, how: str) -> None:
    first = RawWorker(stack, stack.cli("tokens", "create", f"first {how}").strip()).joined()
    if how == "left":
        assert CALLS["goodbye"](first).status_code == 204
    else:
        stack.cli("tokens", "revoke", f"first {how}")

    assert RawWorker(stack, token_for(stack, None), id=first.id).hello().status_code == 200


WRONG: dict[str, dict[str, Any]] = {
    "a long id": {"id": "x" * 61},
    "an empty id": {"id": ""},
    "a control character": {"id": "a\u0000b"},
    "a line break": {"id": "a\nb"},
    "text that turns around": {"id": "a\u202eb"},
    "a slash": {"id": "../a"},
    "a long pool": {"pool": "x" * 61},
    "a long device": {"device": "x" * 201},
    "many versions": {"versions": {f"v{number}": "1" for number in range(21)}},
    "a number for a name": {"id": 1},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_names_that_cannot_be_shown_are_refused(stack: Stack, wrong: str) -> None:
    answer = RawWorker(stack, token_for(stack, None)).hello(**WRONG[wrong])

    assert refusal(answer) == (400, "invalid_request")


def test_markup_in_names_is_shown_as_text(stack: Stack) -> None:
    name = "<script>alert(1)<\\script>?a=b"
    worker = RawWorker(stack, token_for(stack, None), id=name)
    assert worker.hello(device="<img src=x onerror=alert(2)>", host="<b>").status_code == 200

    page = stack.visitor().get("/fleet").text

    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "/fleet/workers/%3Cscript%3Ealert%281%29%3C%5Cscript%3E%3Fa%3Db/drain" in page


HUGE = {
    "memory_bytes": 10**30,
    "cache_bytes": -5,
    "cache_limit_bytes": 2**70,
    "warm": ["x" * 100_000, *(f"m{number}" for number in range(10_000))],
    "models": [{"name": "m" * 100_000, "path": "x" * 100_000, "size": -1, "resident": 10**40, "since": 10**40}] * 3,
    "memory": {"vram_total": 10**40, "device_type": "y" * 100_000},
}


PAGES = ("/fleet", "/fleet/memory", "/api/v1/model-memory", "/metrics", "/comfy/system_stats", "/readyz")


def test_vitals_out_of_bounds_break_no_page(stack: Stack) -> None:
    worker = RawWorker(stack, token_for(stack, None)).joined()

    answered = [worker.heartbeat(vitals=HUGE).status_code]

    visitor = stack.visitor()
    answered += [visitor.get(path).status_code for path in PAGES]
    assert answered == [200] * 7
    assert len(visitor.get("/fleet").content) < 1_000_000


@pytest.mark.parametrize(
    "message",
    [
        '{"worker_id":"w","incarnation":"i","leases":[],"wait_s":1e308}',
        '{"worker_id":"w","incarnation":"i","leases":[],"wait_s":1e999}',
        '{"worker_id":"w","incarnation":"i","leases":[],"wait_s":-1}',
        '{"worker_id":"w","incarnation":"i","leases":[],"wait_s":NaN}',
        '{"worker_id":"w","incarnation":"i","leases":[],"wait_s":0,"vitals":{"memory_bytes":1e308}}',
        "[" * 100_000,
        "",
        "\xff",
    ],
)
def test_heartbeats_that_are_none_are_refused(stack: Stack, message: str) -> None:
    worker = RawWorker(stack, token_for(stack, None)).joined()

    answer = worker.call("POST", "heartbeat", content=message.replace('"w"', f'"{worker.id}"').encode("latin-1"))

    assert answer.status_code == 400


def test_a_log_is_bounded_plain_text(stack: Stack) -> None:
    worker = RawWorker(stack, token_for(stack, None)).joined()
    path = f"log/{worker.id}/{worker.incarnation}"

    assert worker.call("PUT", path, content=b"x" * (5 << 20)).status_code == 413
    assert worker.call("PUT", path, content=b"\x1b[31mred\xff").status_code == 204


REPORTS: dict[str, dict[str, Any]] = {
    "a number beyond the database's": {"type": "started", "seq": 2**31},
    "a negative time": {"type": "ended", "seq": 1, "reason": "completed", "run_time_ms": -1},
    "a long name": {
        "type": "ended",
        "seq": 1,
        "reason": "completed",
        "outputs": [{"name": "n" * 5000, "digest": OUTPUT, "size": 1, "content_type": "image/png"}],
    },
    "a size beyond the database's": {
        "type": "ended",
        "seq": 1,
        "reason": "completed",
        "outputs": [{"name": "n", "digest": OUTPUT, "size": 2**63, "content_type": "image/png"}],
    },
    "an output that is nowhere": {
        "type": "ended",
        "seq": 1,
        "reason": "completed",
        "outputs": [{"name": "n", "digest": OUTPUT, "size": 1, "content_type": "image/png"}],
    },
    "progress beyond numbers": {
        "type": "progress",
        "node": "1",
        "value": 1,
        "maximum": 1,
        "done": 10**400,
        "total": 1,
    },
}


@pytest.mark.parametrize("wrong", REPORTS)
def test_reports_that_cannot_be_stored_are_refused(victim: RawWorker, wrong: str) -> None:
    held = held_by(victim)

    answer = victim.report(held["lease"], REPORTS[wrong])

    assert refusal(answer) == (400, "invalid_request")
    assert is_at_work(victim, held["lease"])


def test_odd_results_of_nodes_break_no_history(victim: RawWorker) -> None:
    client = victim.stack.client()
    odd = {"outputs": {"1": [], "2": "text", "3": {"images": 5}}, "meta": [], "more": 1}
    run_id = client.submit(graph_of(), accelerator="L4")
    lease = victim.assigned()["lease"]

    assert victim.end(lease, shown=odd).status_code == 204

    pages = (f"/api/v1/runs/{run_id}", "/comfy/history", "/comfy/api/jobs", "/api/v2/jobs")
    assert [client.http.get(page).status_code for page in pages] == [200] * 4
    assert victim.stack.visitor().get(f"/runs/{run_id}").status_code == 200


def test_a_run_is_not_charged_for_more_than_it_took(victim: RawWorker) -> None:
    client = victim.stack.client()
    run_id = client.submit(graph_of(), accelerator="L4")
    lease = victim.assigned()["lease"]

    assert victim.end(lease, run_time_ms=10**12).status_code == 204

    assert client.get(run_id)["run_time"] < 60_000
