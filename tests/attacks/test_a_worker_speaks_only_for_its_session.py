"""Workers that share a token do not share their ids, calls and leases: each has the secret of its session."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import httpx2
import pytest
from sqlalchemy import update

from comfyward.dispatch.worker_sessions import SEEN_RESOLUTION_MS
from comfyward.ids import new_id, new_secret
from comfyward.runs.files import Url, key_of
from comfyward.store.db import now_ms
from comfyward.store.schema import workers
from tests.attacks.raw_worker import RawWorker, catalog_of, graph_of, refusal, token_for
from tests.attacks.test_a_worker_speaks_only_for_itself import CALLS, LEASE_CALLS, held_by, is_at_work
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

_numbers = itertools.count()
LEASE_MS = 60_000


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="L4,T4", mirror_models="true", lease_s=str(LEASE_MS / 1000))


@pytest.fixture
def token(stack: Stack) -> str:
    return token_for(stack, "L4")


@pytest.fixture
def victim(stack: Stack, token: str) -> RawWorker:
    return RawWorker(stack, token, secret=new_secret()).joined()


@pytest.fixture(params=["no secret", "its own secret"])
def thief(victim: RawWorker, request: pytest.FixtureRequest) -> RawWorker:
    """Another worker with the victim's token."""
    secret = "" if request.param == "no secret" else new_secret()
    return RawWorker(victim.stack, victim.token, secret=secret).joined()


def posing(thief: RawWorker, victim: RawWorker) -> RawWorker:
    return replace(thief, id=victim.id, incarnation=victim.incarnation)


@pytest.mark.parametrize("incarnation", ["of its own", "of the victim"])
def test_the_id_of_a_worker_at_work_is_not_taken_over(victim: RawWorker, thief: RawWorker, incarnation: str) -> None:
    held = held_by(victim)
    life = victim.incarnation if incarnation == "of the victim" else thief.incarnation

    answer = replace(thief, id=victim.id, incarnation=life).hello()

    assert refusal(answer) == (409, "worker_id_taken")
    assert is_at_work(victim, held["lease"])


@pytest.mark.parametrize("call", CALLS)
def test_no_call_is_made_in_its_name(victim: RawWorker, thief: RawWorker, call: str) -> None:
    held = held_by(victim)

    answer = CALLS[call](posing(thief, victim))

    assert refusal(answer) == (403, "forbidden")
    assert is_at_work(victim, held["lease"])


@pytest.mark.parametrize("call", LEASE_CALLS)
def test_a_stolen_lease_is_worth_nothing(victim: RawWorker, thief: RawWorker, call: str) -> None:
    held = held_by(victim)

    answer = LEASE_CALLS[call](thief, held["lease"])

    assert refusal(answer) == (409, "stale_lease")
    assert thief.heartbeat(held["lease"]).json()["lost"] == [held["lease"]]
    assert is_at_work(victim, held["lease"])


def test_a_catalog_is_refused_in_nobody_elses_name(victim: RawWorker, thief: RawWorker) -> None:
    """A bad catalog marks the workers that sent it."""
    bad = b"[]"
    thief.hello(bad)

    assert thief.put_catalog(bad).status_code == 400

    page = victim.stack.visitor().get("/fleet").text
    assert "was refused" in page.split(f"Worker {thief.id}")[1].split("</section>")[0]
    assert "was refused" not in page.split(f"Worker {victim.id}")[1].split("</section>")[0]


def test_a_permit_to_store_a_model_is_its_own(victim: RawWorker, thief: RawWorker) -> None:
    url = f"http://127.0.0.1:9/model-{next(_numbers)}.safetensors"
    path, key, model = "/models/checkpoints/model.safetensors", key_of(Url(url)), url.encode()
    victim.stack.client().submit(graph_of(), accelerator="L4", files={path: url})
    lease = victim.assigned()["lease"]
    permit = victim.offer_mirror(key, model, lease).json()["permit"]

    assert thief.store_mirror(key, model, permit) == [403, 403]

    assert victim.store_mirror(key, model, permit) == [204, 204]
    assert is_at_work(victim, lease)


def test_a_hello_whose_answer_was_lost_is_repeated(victim: RawWorker) -> None:
    held = held_by(victim)

    assert victim.hello().status_code == 200

    assert is_at_work(victim, held["lease"])


def test_a_process_that_its_host_starts_again_takes_its_own_place(victim: RawWorker) -> None:
    """The host gives each of its processes the same secret."""
    held = held_by(victim)
    again = replace(victim, incarnation=new_id())

    assert again.hello().status_code == 200

    assert victim.heartbeat().status_code == 409
    assert victim.end(held["lease"]).status_code == 409
    once_more = again.assigned()
    assert once_more["run_id"] == held["run_id"]
    assert again.end(once_more["lease"]).status_code == 204


LEAVING: dict[str, Callable[[RawWorker], object]] = {
    "it left": lambda worker: worker.goodbye().raise_for_status(),
    "its host says that it ended": lambda worker: worker.gone().raise_for_status(),
    "it was not heard of for longer than a lease": lambda worker: silence(worker, LEASE_MS + SEEN_RESOLUTION_MS + 1),
}


@pytest.mark.parametrize("how", LEAVING)
def test_an_id_is_free_when_its_worker_is_gone(victim: RawWorker, how: str) -> None:
    held = held_by(victim)
    LEAVING[how](victim)
    again = RawWorker(victim.stack, victim.token, id=victim.id, secret=new_secret())

    assert again.hello().status_code == 200

    assert victim.heartbeat(held["lease"]).status_code == 409
    assert victim.end(held["lease"]).status_code == 409
    once_more = again.assigned()
    assert once_more["run_id"] == held["run_id"]
    assert again.end(once_more["lease"]).status_code == 204


@pytest.mark.parametrize("incarnation", ["of its own", "of the victim"])
def test_whoever_takes_the_id_of_a_frozen_worker_gets_none_of_its_leases(
    victim: RawWorker, thief: RawWorker, incarnation: str
) -> None:
    held = held_by(victim)
    life = victim.incarnation if incarnation == "of the victim" else thief.incarnation
    silence(victim, 2 * LEASE_MS)
    taking = replace(thief, id=victim.id, incarnation=life)

    assert taking.hello().status_code == 200

    assert taking.heartbeat(held["lease"]).json()["lost"] == [held["lease"]]
    assert taking.end(held["lease"]).status_code == 409
    assert taking.goodbye().status_code == 204
    assert victim.hello().status_code == 200
    once_more = victim.assigned()
    assert once_more["run_id"] == held["run_id"]
    assert is_at_work(victim, once_more["lease"])


def silence(worker: RawWorker, for_ms: int) -> None:
    """As if the worker had not been heard of for a while."""
    seen = update(workers).where(workers.c.id == worker.id).values(seen_at=now_ms() - for_ms)
    worker.stack.write(lambda conn: conn.execute(seen) and None)


OLD: dict[str, Callable[[RawWorker], httpx2.Response]] = {
    **CALLS,
    "hello": lambda worker: worker.hello(catalog_of("Paint")),
    "catalog": lambda worker: worker.put_catalog(catalog_of("Paint")),
    "new life": lambda worker: replace(worker, incarnation=new_id()).hello(),
}
ANSWERED = ("heartbeat", "hello", "new life")  # with something


@pytest.mark.parametrize("call", OLD)
def test_a_worker_of_an_earlier_version_works_without_a_secret(stack: Stack, token: str, call: str) -> None:
    old = RawWorker(stack, token).joined()
    held = held_by(old)
    assert is_at_work(old, held["lease"])

    assert OLD[call](old).status_code == (200 if call in ANSWERED else 204)


def test_a_worker_that_joined_at_a_server_of_an_earlier_version_works_on(victim: RawWorker) -> None:
    """That server stored no secret. The worker sends it all the same, and is bound when it joins again."""
    before = update(workers).where(workers.c.id == victim.id).values(session="")
    joined_before = replace(victim, incarnation=new_id())
    assert joined_before.hello().status_code == 200
    victim.stack.write(lambda conn: conn.execute(before) and None)
    held = held_by(joined_before)
    assert is_at_work(joined_before, held["lease"])
    assert joined_before.put_catalog(catalog_of("Paint")).status_code == 204

    assert joined_before.hello().status_code == 200

    assert replace(joined_before, secret="").heartbeat().status_code == 403
    assert joined_before.heartbeat().status_code == 200


def test_a_secret_of_any_length_is_one(stack: Stack, token: str) -> None:
    worker = RawWorker(stack, token, secret="x" * 4000).joined()

    assert worker.heartbeat().status_code == 200
    assert replace(worker, secret="x" * 4001).heartbeat().status_code == 403
