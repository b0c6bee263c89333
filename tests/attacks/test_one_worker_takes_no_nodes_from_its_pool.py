"""A worker of a pool that announces no nodes, or false ones, makes no graph refused that others of the pool take."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from comfyward.ids import new_secret
from comfyward.store.catalogs import KEPT_PER_POOL
from tests.attacks.raw_worker import RawWorker, catalog_of, graph_of, token_for
from tests.attacks.test_a_catalog_speaks_only_for_its_pool import taken
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.waiting import until

HONEST = catalog_of("Paint", "Upscale")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="L4")


TEXT = {"required": {"text": ["STRING", {}]}}
SAVES: dict[str, Any] = {"input": TEXT, "output": [], "output_node": True}
BAD: dict[str, dict[str, Any]] = {
    "no node of the others": {},
    "fewer nodes": {"Upscale": SAVES},
    "a node that needs more": {"Paint": {**SAVES, "input": {"required": {**TEXT["required"], "bribe": ["MONEY", {}]}}}},
    "a node that takes no text": {"Paint": {**SAVES, "input": {"required": {"text": [["only this"], {}]}}}},
    "a node that saves nothing": {"Paint": {**SAVES, "output_node": False}},
}


@pytest.mark.parametrize("bad", BAD)
def test_what_others_of_the_pool_take_is_taken(stack: Stack, bad: str) -> None:
    honest = RawWorker(stack, token_for(stack, "L4"), secret=new_secret()).joined(HONEST)
    own = f"OfThief{next(_numbers)}"
    catalog = msgspec.json.encode({"nodes": {own: SAVES, **BAD[bad]}})
    thief = RawWorker(stack, honest.token, secret=new_secret()).joined(catalog)
    wait_until(stack, own, 200)

    assert taken(stack, "L4") == (200, 200)
    assert taken(stack, "L4", "NobodyHasIt") == (400, 400)
    page = stack.visitor().get("/fleet").text
    assert [differs(page, each) for each in (thief, honest)] == [True, False]
    log = (stack.data_dir / "server.log").read_text()
    assert f"worker {thief.id} offers other nodes than most workers of pool L4" in log
    assert honest.goodbye().status_code == thief.goodbye().status_code == 204


def test_nodes_that_one_worker_has_more_are_taken(stack: Stack) -> None:
    """As while the packs of a pool are updated, worker after worker."""
    token = token_for(stack, "L4")
    old = RawWorker(stack, token, secret=new_secret()).joined(HONEST)
    new = RawWorker(stack, token, secret=new_secret()).joined(catalog_of("Paint", "Newest"))
    wait_until(stack, "Newest", 200)

    assert taken(stack, "L4", "Upscale") == (200, 200)

    assert old.goodbye().status_code == 204
    wait_until(stack, "Upscale", 400)
    assert taken(stack, "L4", "Newest") == (200, 200)
    assert new.goodbye().status_code == 204


def test_a_flood_of_catalogs_makes_no_graph_refused(stack: Stack) -> None:
    token = token_for(stack, "L4")
    honest = RawWorker(stack, token, secret=new_secret()).joined(HONEST)
    thieves = [RawWorker(stack, token, secret=new_secret()) for _ in range(KEPT_PER_POOL + 2)]
    for thief in thieves:
        thief.joined(catalog_of(f"Of{thief.id.replace('-', '_')}"))
    again = RawWorker(stack, token, secret=new_secret()).joined(catalog_of("Paint", "Later"))

    assert honest.goodbye().status_code == 204
    wait_until(stack, "Later", 200)
    assert [each.goodbye().status_code for each in (again, *thieves)] == [204] * (KEPT_PER_POOL + 3)


def differs(page: str, worker: RawWorker) -> bool:
    return "Offers other nodes than most" in page.split(f"Worker {worker.id}")[1].split("</section>")[0]


def wait_until(stack: Stack, class_type: str, status: int) -> None:
    """Servers read catalogs anew once a second."""
    client, run = stack.client(), {"prompt": graph_of(class_type), "accelerator": "L4"}
    until(lambda seen: seen == status, lambda: client.post_run(run).status_code)
