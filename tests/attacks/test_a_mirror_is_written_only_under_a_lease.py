"""A copy of a model is stored only by a worker whose run names it, and used only where that worker is trusted."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import time
from typing import Any

import blake3
import pytest

from comfyward.api.auth import SIGNATURE_CHARACTERS
from comfyward.ids import hash_secret
from comfyward.runs.files import Url, key_of
from comfyward.store import accounts
from tests.attacks.raw_worker import RawWorker, graph_of, refusal, worker_of
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

PATH = "/models/checkpoints/model.safetensors"
MODEL, POISON = b"what the origin sends", b"what the thief would have"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    settings = {"accelerators": "L4,T4", "mirror_models": "true", "fetch_allow": "127.0.0.1"}
    return start_fake_once(fleet="none", **settings)


@pytest.fixture
def url() -> str:
    """Of a model that no other test names."""
    return f"http://127.0.0.1:9/model-{next(_numbers)}.safetensors"


@pytest.fixture
def victim(stack: Stack) -> RawWorker:
    return worker_of(stack, "L4").joined()


@pytest.fixture
def thief(stack: Stack) -> RawWorker:
    return worker_of(stack, "T4").joined()


def order_of(worker: RawWorker, url: str, digest: str | None = None) -> dict[str, Any]:
    """What a worker is told to fetch for a run that names the model; the run is over."""
    assignment = assigned(worker, url, digest)
    assert worker.end(assignment["lease"]).status_code == 204
    return dict(assignment["files"][0])


def assigned(worker: RawWorker, url: str, digest: str | None = None) -> dict[str, Any]:
    source = {"url": url, "digest": digest} if digest else url
    worker.stack.client().submit(graph_of(), accelerator=worker.pool, files={PATH: source})
    return worker.assigned()


def kept(worker: RawWorker, url: str, data: bytes, **claimed: str) -> None:
    """Stores some bytes as the model, under the lease of a run that names it."""
    key, lease = key_of(Url(url)), assigned(worker, url)["lease"]
    offered = worker.offer_mirror(key, data, lease, **claimed)
    assert offered.status_code == 200, offered.text
    assert worker.end(lease).status_code == 204  # an upload may outlast its run
    assert worker.store_mirror(key, data, offered.json()["permit"]) == [204, 204]


def is_asked_of_the_origin(order: dict[str, Any]) -> bool:
    return "mirror" not in order and order["keep"]


def test_nothing_is_stored_without_a_lease(stack: Stack, victim: RawWorker, thief: RawWorker, url: str) -> None:
    key = key_of(Url(url))

    assert thief.offer_mirror(key, POISON).status_code == 409
    assert thief.store_mirror(key, POISON) == [403, 403]

    assert is_asked_of_the_origin(order_of(victim, url))


def test_the_lease_of_a_run_that_does_not_name_it_is_not_enough(
    stack: Stack, victim: RawWorker, thief: RawWorker, url: str
) -> None:
    key, lease = key_of(Url(url)), assigned(thief, url + "?another")["lease"]

    assert thief.offer_mirror(key, POISON, lease).status_code == 403
    assert thief.store_mirror(key, POISON, lease=lease) == [403, 403]

    assert is_asked_of_the_origin(order_of(victim, url))
    thief.end(lease)


def test_a_permit_is_for_one_source_content_and_token(
    stack: Stack, victim: RawWorker, thief: RawWorker, url: str
) -> None:
    key, other_key = key_of(Url(url)), key_of(Url(url + "?other"))
    lease = assigned(thief, url)["lease"]
    permit = thief.offer_mirror(key, POISON, lease).json()["permit"]
    until, _, signature = permit.partition("-")

    assert thief.store_mirror(other_key, POISON, permit) == [403, 403]
    assert thief.store_mirror(key, POISON + b"!", permit) == [403, 403]
    assert victim.store_mirror(key, POISON, permit) == [403, 403]
    assert thief.store_mirror(key, POISON, f"{int(until) + 1}-{signature}") == [403, 403]
    assert thief.store_mirror(key, POISON, f"{int(until) - 10**9}-{signature}") == [403, 403]
    assert thief.store_mirror(key, POISON, f"²-{signature}".encode("latin-1")) == [403, 403]
    thief.end(lease)


def test_a_permit_ends_with_its_time(thief: RawWorker, url: str) -> None:
    key, now = key_of(Url(url)), int(time.time())

    assert thief.store_mirror(key, MODEL, permit_until(now - 1, thief, key, MODEL)) == [403, 403]
    assert thief.store_mirror(key, MODEL, permit_until(now + 3600, thief, key, MODEL)) == [204, 204]


def permit_until(until: int, worker: RawWorker, key: str, data: bytes) -> str:
    """A permit as the server makes it, with its secret."""
    links = str(worker.stack.write(accounts.secret, "links"))
    named = f"mirror {hash_secret(worker.token)}  {key} {blake3.blake3(data).hexdigest()} {until}-"
    return f"{until}--{hmac.digest(links.encode(), named.encode(), 'sha256').hex()[:SIGNATURE_CHARACTERS]}"


def test_other_bytes_than_were_offered_are_refused(thief: RawWorker, url: str) -> None:
    key, lease = key_of(Url(url)), assigned(thief, url)["lease"]
    offered = thief.offer_mirror(key, MODEL, lease)
    assert "url" not in offered.json()

    digest, headers = blake3.blake3(MODEL).hexdigest(), {"X-Comfyward-Mirror": offered.json()["permit"]}
    sent = thief.call("PUT", f"mirrors/{key}/{digest}", content=POISON, headers=headers)

    assert refusal(sent) == (409, "hash_mismatch")
    assert thief.store_mirror(key, MODEL, offered.json()["permit"])[1] == 204
    thief.end(lease)


def test_a_copy_is_used_in_its_pool_alone(victim: RawWorker, thief: RawWorker, url: str) -> None:
    kept(thief, url, POISON)

    assert order_of(thief, url)["mirror"] == blake3.blake3(POISON).hexdigest()
    assert is_asked_of_the_origin(order_of(victim, url))

    kept(victim, url, MODEL)
    assert order_of(victim, url)["mirror"] == blake3.blake3(MODEL).hexdigest()
    assert order_of(thief, url)["mirror"] == blake3.blake3(POISON).hexdigest()


def test_a_copy_by_a_token_for_any_pool_is_for_all(stack: Stack, victim: RawWorker, url: str) -> None:
    kept(worker_of(stack, "T4", of_any=True).joined(), url, MODEL)

    assert order_of(victim, url)["mirror"] == blake3.blake3(MODEL).hexdigest()


@pytest.mark.parametrize("algorithm", ["blake3", "sha256"])
def test_a_digest_that_the_run_names_proves_a_copy(
    victim: RawWorker, thief: RawWorker, url: str, algorithm: str
) -> None:
    data = MODEL + algorithm.encode()
    digest = blake3.blake3(data).hexdigest() if algorithm == "blake3" else hashlib.sha256(data).hexdigest()
    kept(thief, url, data)

    assert order_of(victim, url, digest)["mirror"] == blake3.blake3(data).hexdigest()


def test_a_false_claim_of_a_digest_proves_nothing(victim: RawWorker, thief: RawWorker, url: str) -> None:
    wanted = hashlib.sha256(MODEL).hexdigest()
    poison = POISON + url.encode()
    kept(thief, url, poison, sha256=wanted)

    assert is_asked_of_the_origin(order_of(victim, url, wanted))


def test_a_model_with_another_digest_than_the_run_names_is_refused(thief: RawWorker, url: str) -> None:
    lease = assigned(thief, url, hashlib.sha256(MODEL).hexdigest())["lease"]

    refused = thief.offer_mirror(key_of(Url(url)), POISON, lease)

    assert refusal(refused) == (409, "hash_mismatch")
    thief.end(lease)


def test_a_poisoned_copy_is_not_read_by_its_digest(victim: RawWorker, thief: RawWorker, url: str) -> None:
    kept(thief, url, POISON)
    lease = assigned(victim, url)["lease"]

    assert victim.call("GET", f"blobs/{blake3.blake3(POISON).hexdigest()}", lease).status_code == 404
    victim.end(lease)
