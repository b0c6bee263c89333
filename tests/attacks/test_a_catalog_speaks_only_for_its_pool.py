"""A worker's catalog holds for its own pool; a bad one is refused, said, and changes nothing for any account."""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec
import pytest

from tests import loopback
from tests.attacks.raw_worker import catalog_of, graph_of, refusal, worker_of
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.waiting import until

GOOD = catalog_of("Paint")


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    """A server whose workers for L4 came with a token for L4, and offer Paint."""
    stack = start_fake_once(fleet="none", accelerators="L4,T4,B200")
    worker_of(stack, "L4").joined(GOOD)
    return stack


def taken(stack: Stack, pool: str, class_type: str = "Paint") -> tuple[int, int]:
    """The answers to two accounts that submit a graph of one class to a pool, once the catalogs are read anew."""
    stack.client().http.get("/api/v1/nodes")
    statuses = [
        stack.client(name).post_run({"prompt": graph_of(class_type), "accelerator": pool}).status_code
        for name in ("alice", "bob")
    ]
    return statuses[0], statuses[1]


def test_it_replaces_that_of_no_other_pool(stack: Stack) -> None:
    worker_of(stack, "T4").joined(catalog_of("OnlyMine"))
    _wait_until_read(stack, "T4", "OnlyMine")

    assert taken(stack, "T4", "OnlyMine") == (200, 200)
    assert taken(stack, "T4") == (400, 400)
    assert taken(stack, "L4") == (200, 200)
    assert taken(stack, "L4", "OnlyMine") == (400, 400)
    assert [each["name"] for each in stack.client().http.get("/api/v1/nodes").json()] == ["Paint"]
    assert list(stack.client().http.get("/comfy/object_info").json()) == ["Paint"]


def test_a_token_for_another_pool_sends_none_for_workers_it_has_not(stack: Stack) -> None:
    foreign, catalog = worker_of(stack, "T4"), catalog_of("Foreign")

    answer = foreign.put_catalog(catalog)

    assert refusal(answer) == (403, "forbidden")
    assert foreign.joined().put_catalog(catalog, "another").status_code == 403


def test_a_pool_that_has_none_uses_that_of_no_stranger(stack: Stack) -> None:
    """Only what came with a token for any pool speaks for pools that it has not served."""
    worker_of(stack, "T4").joined(catalog_of("OnlyMine"))
    assert taken(stack, "B200", "Paint") == (200, 200)
    assert taken(stack, "B200", "Anything") == (200, 200)


NODE = {"input": {"required": {"text": ["STRING", {}]}}, "output": ["IMAGE"], "output_node": True}
BAD: dict[str, bytes] = {
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "no object": b"[]",
    "a depth that is not read": b"[" * 100_000,
    "nodes in a list": b'{"nodes": []}',
    "a node that is a text": b'{"nodes": {"Paint": "x"}}',
    "inputs in a list": b'{"nodes": {"Paint": {"input": []}}}',
    "required inputs in a list": b'{"nodes": {"Paint": {"input": {"required": ["text"]}}}}',
    "outputs that are a number": b'{"nodes": {"Paint": {"output": 5}}}',
    "folders of numbers": b'{"nodes": {}, "folders": {"Paint": {"text": 1}}}',
    "unchecked inputs in a number": b'{"nodes": {}, "unchecked": {"Paint": 1}}',
    "models by number": b'{"nodes": {}, "models": {"loras": [1]}}',
    "listings that are none": b'{"nodes": {}, "listings": {"Paint": {"text": [["a"]]}}}',
    "kinds that are none": b'{"nodes": {}, "kinds": {"loras": [["a", "elsewhere", "", "", null]]}}',
    "follows a number": b'{"nodes": {}, "follows": {"Paint": 3}}',
    "open types in a list": b'{"nodes": {}, "open_types": {"Paint": []}}',
    "failures without a name": b'{"nodes": {}, "failures": [{"error": "x"}]}',
    "failures in a text": b'{"nodes": {}, "failures": "x"}',
    "metadata in a list": b'{"nodes": {}, "model_info": {"checkpoints": []}}',
    "a name without end": msgspec.json.encode({"nodes": {"x" * 5000: NODE}}),
    "nodes without end": msgspec.json.encode({"nodes": {f"n{number}": {} for number in range(60_000)}}),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_one_is_refused_and_the_one_before_stays(stack: Stack, bad: str) -> None:
    worker = worker_of(stack, "L4")
    assert worker.hello(BAD[bad]).json()["wants_catalog"]

    answer = worker.put_catalog(BAD[bad])

    assert refusal(answer) == (400, "invalid_catalog")
    assert answer.json()["message"].startswith("The catalog has not the form of one")
    assert taken(stack, "L4") == (200, 200)
    assert loopback.get(f"{stack.url}/readyz").json()["refused_catalogs"] >= 1
    page = stack.visitor().get("/fleet").text
    assert page.split(f"Worker {worker.id}")[1].split("</section>")[0].count("was refused") == 1
    assert f"the catalog of worker {worker.id} is refused" in (stack.data_dir / "server.log").read_text()
    worker.joined(GOOD)
    page = stack.visitor().get("/fleet").text
    assert page.split(f"Worker {worker.id}")[1].split("</section>")[0].count("was refused") == 0


def test_one_that_is_too_large_is_not_read(stack: Stack) -> None:
    worker = worker_of(stack, "L4")
    worker.hello()

    assert worker.put_catalog(b" " * (33 << 20)).status_code == 413
    assert taken(stack, "L4") == (200, 200)


ODD: dict[str, Any] = {
    "specs of any form": {"required": {"a": [], "b": "STRING", "c": 5, "d": None, "e": [["x", {"y": 1}, 2]]}},
    "bounds of any form": {"required": {"text": ["INT", {"min": "low", "max": [], "step": {}}]}},
    "hidden inputs of any form": {"required": {}, "optional": None, "hidden": 5},
    "none": None,
}


@pytest.mark.parametrize("odd", ODD)
def test_what_packs_declare_in_odd_ways_breaks_nothing(stack: Stack, odd: str) -> None:
    described = {**NODE, "input": ODD[odd], "output": "IMAGE", "display_name": 5, "description": [], "category": {}}
    body = msgspec.json.encode({"nodes": {"Odd": described | {"output_name": 3, "python_module": 7}}})
    worker_of(stack, "B200").joined(body)
    _wait_until_read(stack, "B200", "Odd")
    client = stack.client("alice")

    graph = {"1": {"class_type": "Odd", "inputs": {"text": 5, "e": "x", "a": ["1", 0]}}}
    answers = [client.post_run({"prompt": graph, "accelerator": "B200"})]
    paths = ("/api/v1/nodes", "/api/v1/nodes/Odd", "/comfy/object_info", "/comfy/object_info/Odd", "/api/v1/models")
    answers += [client.http.get(path) for path in (*paths, "/comfy/docs/Odd/en.md")]

    assert [answer.status_code for answer in answers if answer.status_code >= 500] == []


def test_two_with_one_name_stand_side_by_side(stack: Stack) -> None:
    first, second = worker_of(stack, "T4", of_any=True), worker_of(stack, "L4", of_any=True)
    first.joined(catalog_of("Paint", "OfTheFirst"))
    second.joined(catalog_of("Paint", "OfTheSecond"))
    _wait_until_read(stack, "T4", "OfTheFirst")

    assert taken(stack, "T4", "OfTheFirst") == (200, 200)
    assert taken(stack, "L4", "OfTheSecond") == (200, 200)
    assert taken(stack, "T4", "OfTheSecond") == (400, 400)
    assert not first.hello(catalog_of("Paint", "OfTheFirst")).json()["wants_catalog"]
    assert not second.hello(catalog_of("Paint", "OfTheSecond")).json()["wants_catalog"]


def _wait_until_read(stack: Stack, pool: str, class_type: str) -> None:
    """Servers read catalogs anew once a second: then this class is known, and no other."""
    client = stack.client()

    def missing() -> list[bool]:
        prompts = [graph_of(each) for each in (class_type, "NobodyHasIt")]
        return [_is_missing(client.post_run({"prompt": prompt, "accelerator": pool})) for prompt in prompts]

    until(lambda seen: seen == [False, True], missing)


def _is_missing(posted: httpx2.Response) -> bool:
    return posted.status_code == 400 and posted.json()["details"]["type"] == "missing_node_type"
