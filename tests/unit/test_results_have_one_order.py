"""The results of a run come in one order, whatever ComfyUI executes first: by the graph, then as nodes list them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from comfyward.worker.result_order import ResultOrder
from comfyward.workflows.graph import in_order


def uses(*nodes: str) -> dict[str, Any]:
    return {"class_type": "X", "inputs": {f"input{number}": [node, 0] for number, node in enumerate(nodes)}}


@pytest.mark.parametrize(
    ("graph", "order"),
    [
        ({"1": uses(), "2": uses(), "10": uses()}, ["1", "2", "10"]),
        ({"save": uses("image"), "image": uses(), "other": uses("image")}, ["image", "save", "other"]),
        ({"a": uses("b", "c"), "b": uses("d"), "c": uses("d"), "d": uses()}, ["d", "b", "c", "a"]),
        ({"a": uses("b"), "b": uses("a"), "c": uses("absent")}, ["a", "b", "c"]),  # ComfyUI refuses it
        ({"a": uses("a"), "b": {"class_type": "X"}, "c": None}, ["a", "b", "c"]),
    ],
)
def test_a_node_comes_after_those_that_it_depends_on(graph: dict[str, Any], order: list[str]) -> None:
    assert in_order(graph) == order


def test_a_long_chain_is_no_matter() -> None:
    graph = {f"{number}": uses(f"{number + 1}") for number in range(20_000)}

    assert in_order(graph)[:2] == ["19999", "19998"]


def files(*names: str) -> list[dict[str, str]]:
    return [
        {"filename": name.rpartition("/")[2], "subfolder": name.rpartition("/")[0], "type": "output"} for name in names
    ]


SHOWN = {
    "9": {"images": files("z.png", "sub/a.png"), "text": ["said"], "more": files("m.png")},
    "2.10": {"images": files("ten.png")},
    "2.9": {"images": files("nine.png")},
    "1": {"images": [*files("b.png"), {"filename": "t.png", "subfolder": "", "type": "temp"}], "odd": "text"},
}
RESULTS = [
    ("b.png", "1", "1", "b.png"),
    ("odd_1.txt", "1", "1", ("1", "odd")),
    ("nine.png", "2.9", "2", "nine.png"),
    ("ten.png", "2.10", "2", "ten.png"),
    ("z.png", "9", "9", "z.png"),
    ("a_2.png", "9", "9", "sub/a.png"),  # the name that it was given
    ("text_9.txt", "9", "9", ("9", "text")),
    ("m.png", "9", "9", "m.png"),
    ("websocket_9_00001_.png", "9", "9", 1),
    ("websocket_9_00002_.png", "9", "9", 2),
    ("not-listed-1.bin", None, None, "not-listed-1.bin"),
    ("not-listed-2.bin", None, None, "not-listed-2.bin"),
]
NAMES = [result[0] for result in RESULTS]


@pytest.mark.parametrize("seed", range(20))
def test_the_order_is_that_of_the_graph_whatever_was_first(seed: int) -> None:
    dice = random.Random(seed)
    order = ResultOrder(["1", "2", "9"])
    for result in dice.sample(RESULTS, len(RESULTS)):
        order.add(*result)
    shown = dict(dice.sample(list(SHOWN.items()), len(SHOWN)))

    assert order.names(shown) == NAMES


def test_nothing_is_said_of_an_order_that_the_server_has() -> None:
    order = ResultOrder(["1", "2", "9"])
    for result in RESULTS:
        order.add(*result)
        order.add(*result)

    assert order.names(SHOWN) == []


def test_the_order_is_said_again_when_something_came_between() -> None:
    order = ResultOrder(["1", "2", "9"])
    for result in (RESULTS[4], RESULTS[0]):
        order.add(*result)
    assert order.names(SHOWN) == ["b.png", "z.png"]

    order.add(*RESULTS[5])
    assert order.names(SHOWN) == []  # it follows
    order.add(*RESULTS[1])
    assert order.names(SHOWN) == ["b.png", "odd_1.txt", "z.png", "a_2.png"]
