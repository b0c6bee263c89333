"""A worker cannot plant another model under a URL whose origin tells a digest: the server asks the origin itself."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import blake3
import pytest

from comfyward.ids import new_secret
from comfyward.runs.files import Url, key_of
from tests import loopback
from tests.attacks.raw_worker import RawWorker, catalog_of, graph_of, token_for
from tests.conftest import FakeSettings
from tests.fakes.http import Origin
from tests.stack.cluster import Worker
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Stack

PATH = "/models/checkpoints/model.ckpt"
MODEL, POISON = b"what the origin sends", b"what the thief would have"
SHA256 = hashlib.sha256(MODEL).hexdigest()
LINKED = {"X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": str(len(MODEL))}


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="L4", mirror_models="true", fetch_allow="127.0.0.1")


@pytest.fixture
def token(stack: Stack) -> str:
    return token_for(stack, "L4")


@pytest.fixture
def thief(stack: Stack, token: str) -> RawWorker:
    return RawWorker(stack, token, secret=new_secret()).joined(catalog_of("Paint", "FakeSave"))


def lease_of(thief: RawWorker, url: str, digest: str | None = None) -> str:
    """The lease of a run that names the model; it is over when the test is."""
    source = {"url": url, "digest": digest} if digest else url
    thief.stack.client("alice").submit(graph_of(), accelerator="L4", files={PATH: source})
    return str(thief.assigned()["lease"])


def stored(thief: RawWorker, url: str, data: bytes, lease: str, **claimed: str) -> list[int]:
    """The statuses of offering some bytes as the model, and of sending and registering them if it was taken."""
    key = key_of(Url(url))
    offered = thief.offer_mirror(key, data, lease, **claimed)
    if offered.status_code != 200:
        assert offered.json()["code"] == "hash_mismatch"
        return [offered.status_code]
    return [200, *thief.store_mirror(key, data, offered.json()["permit"])]


def order_of(thief: RawWorker, url: str) -> dict[str, Any]:
    """What a worker is told to fetch for a run that names the model without a digest."""
    thief.stack.client("bob").submit(graph_of(), accelerator="L4", files={PATH: url})
    assignment = thief.assigned()
    assert thief.end(assignment["lease"]).status_code == 204
    return dict(assignment["files"][0])


@pytest.mark.parametrize("claim", ["its own digest", "the true one"])
def test_another_account_gets_what_the_origin_sends(
    thief: RawWorker, site: Origin, fake_settings: FakeSettings, tmp_path: Path, claim: str
) -> None:
    url = site.put("/model.ckpt", MODEL, headers=LINKED)
    lease = lease_of(thief, url)
    claimed = {"sha256": SHA256} if claim == "the true one" else {}
    assert stored(thief, url, POISON, lease, **claimed) == ([200, 204, 409] if claimed else [409])
    assert thief.end(lease).status_code == 204
    assert thief.goodbye().status_code == 204

    honest = Worker(
        f"honest-{len(claimed)}", thief.stack.url, thief.token, tmp_path, fake_settings(fetch_allow="127.0.0.1")
    ).start()
    bob = thief.stack.client("bob")
    run = bob.run(fake_save("../models/checkpoints/model.ckpt"), accelerator="L4", files={PATH: url})
    assert honest.stop() == 0  # it says goodbye: the nodes of its pool are the thief's again

    assert run["status"] == "COMPLETED", run["error"]
    assert [loopback.get(output["url"]).content for output in run["output"]] == [MODEL]


def test_the_true_model_is_kept_for_others(thief: RawWorker, site: Origin) -> None:
    url = site.put("/true.ckpt", MODEL, headers=LINKED)
    lease = lease_of(thief, url)

    assert stored(thief, url, MODEL, lease) == [200, 204, 204]

    assert thief.end(lease).status_code == 204
    assert order_of(thief, url)["mirror"] == blake3.blake3(MODEL).hexdigest()


@pytest.mark.parametrize("claim", ["its own digest", "the true one"])
def test_a_digest_that_an_accomplice_names_is_not_the_origins(thief: RawWorker, site: Origin, claim: str) -> None:
    """The thief has an account too, whose run names the digest of the poison."""
    url = site.put(f"/named-{len(claim)}.ckpt", MODEL, headers=LINKED)
    lease = lease_of(thief, url, blake3.blake3(POISON).hexdigest())
    claimed = {"sha256": SHA256} if claim == "the true one" else {}

    assert stored(thief, url, POISON, lease, **claimed) == ([200, 204, 409] if claimed else [409])

    assert thief.end(lease).status_code == 204
    order = order_of(thief, url)
    assert "mirror" not in order
    assert order["keep"]


def test_a_digest_that_a_run_names_holds_for_what_is_stored(thief: RawWorker, site: Origin) -> None:
    """The origin tells nothing; the thief says what the run wants to hear, and sends other bytes."""
    url = site.put("/silent.ckpt", MODEL)
    lease = lease_of(thief, url, SHA256)

    assert stored(thief, url, POISON + b"2", lease, sha256=SHA256) == [200, 204, 409]

    assert thief.end(lease).status_code == 204
    assert "mirror" not in order_of(thief, url)


def test_a_permit_for_any_digest_cannot_be_made_of_one_for_the_true_one(thief: RawWorker, site: Origin) -> None:
    url = site.put("/permit.ckpt", MODEL, headers=LINKED)
    key, lease = key_of(Url(url)), lease_of(thief, url)
    permit = thief.offer_mirror(key, POISON, lease, sha256=SHA256).json()["permit"]
    until, _, signature = permit.split("-")

    for forged in (f"{until}--{signature}", f"{until}-{signature}", permit.replace(SHA256, "0" * 64)):
        assert thief.store_mirror(key, POISON, forged) == [403, 403]

    assert thief.end(lease).status_code == 204


def test_where_the_origin_tells_nothing_a_copy_is_its_pools(thief: RawWorker, site: Origin) -> None:
    """As docs/security.md says: workers of a pool are trusted with its models where nobody names a digest."""
    url = site.put("/unknown.ckpt", MODEL)
    lease = lease_of(thief, url)

    assert stored(thief, url, POISON, lease) == [200, 204, 204]

    assert thief.end(lease).status_code == 204
    assert order_of(thief, url)["mirror"] == blake3.blake3(POISON).hexdigest()
