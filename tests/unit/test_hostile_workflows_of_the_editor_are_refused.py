"""Workflows that are damaged, endless or enormous are refused by name of the place, before they take memory or time."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyward.errors import InvalidGraph, UnknownClasses
from comfyward.workflows.conversion import feeding
from comfyward.workflows.conversion.conversion import convert
from comfyward.workflows.conversion.form import MAX_LINKS
from comfyward.workflows.conversion.outline import active_nodes
from comfyward.workflows.graph import MAX_NODES
from tests.editor.kept import catalog_of_rules
from tests.editor.rules import RULES, box, definition, graph, into, node, out, reroute, saved, source

CATALOG = catalog_of_rules()


def refused(workflow: Any) -> InvalidGraph:
    with pytest.raises(InvalidGraph) as found:
        convert(workflow, CATALOG)
    return found.value


def nested(count: int, each: int) -> list[Any]:
    """Definitions that each hold some boxes of the next; the last holds a node."""
    made = [definition(f"level {count}", [node(1, "TSeed", [1])], [])]
    for level in reversed(range(count)):
        made.append(definition(f"level {level}", [node(at, made[-1]["id"]) for at in range(1, each + 1)], []))
    return made[::-1]


def test_a_box_inside_itself() -> None:
    inner = definition("itself", [node(7, "TSeed", [1])], [])
    inner["nodes"].append(node(8, inner["id"]))

    assert refused(graph([node(1, inner["id"])], [], inner)).message == (
        "The subgraph 'itself' contains itself, by its node 8."
    )


def test_two_boxes_inside_each_other() -> None:
    one, other = definition("one", [], []), definition("other", [], [])
    one["nodes"].append(node(5, other["id"]))
    other["nodes"].append(node(6, one["id"]))

    assert "contains itself" in refused(graph([node(1, one["id"])], [], one, other)).message


def test_doubling_definitions() -> None:
    made = nested(40, 2)

    error = refused(graph([node(1, made[0]["id"])], [], *made))

    assert error.message.startswith("The workflow has billions of nodes once its subgraphs are open; at most 20000")
    assert error.details["node_id"] == "1"


def test_thousands_of_levels() -> None:
    made = nested(5000, 1)

    error = refused(graph([node(1, made[0]["id"])], [], *made))

    assert error.message == "The subgraphs in node 1 are nested deeper than 64 levels."


def test_boxes_of_a_definition_with_many_inputs() -> None:
    inputs = [("a", "IMAGE", [])] * 1000
    made = definition("wide", [], [], inputs)
    boxes = [{"id": at, "type": made["id"]} for at in range(2000)]

    assert refused(graph(boxes, [], made)).details["place"] == "nodes[1000]"


def test_opened_boxes_share_the_bound_of_inputs() -> None:
    inner = definition("wide", [source(1, inputs=[into("x") for _ in range(30_000)])], [])

    error = refused(graph([node(at, inner["id"]) for at in range(100)], [], inner))

    assert error.message == "The workflow has more than 1000000 inputs once its subgraphs are open."


def test_ids_as_long_as_books() -> None:
    error = refused(graph([node("a" * 101, "TSeed")]))

    assert error.details["place"] == "nodes[0].id"


@pytest.mark.parametrize("text", ["{" * 900 + "a" * 10**5 + "b}" * 10**5, "/*" * 10**5, "{a|" * 900, "%" * 10**5])
def test_texts_of_many_marks(text: str) -> None:
    nodes = [node(1, "TText", [text, "x"]), node(2, "SaveImage", [text])]

    assert len(convert(graph(nodes), CATALOG)) == 2


def test_a_text_of_too_many_choices() -> None:
    error = refused(graph([node(1, "TText", ["{a|" * 1001, "x"])]))

    assert error.message == "The text of node 1 (TText), input 'text', has more than 1000 choices in braces."


def test_a_chain_of_thousands_of_reroutes_and_bypassed_nodes() -> None:
    chain = [
        reroute(at, at, at + 1)
        if at % 2
        else node(at, "TPass", mode=4, inputs=[into("image", at, "IMAGE")], outputs=[out("MASK"), out("IMAGE")])
        for at in range(1, 5001)
    ]
    links = [[1, 9001, 0, 1, 0, "IMAGE"]]
    links += [[at, at - 1, 0 if (at - 1) % 2 else 1, at, 0, "IMAGE"] for at in range(2, 5001)]
    links += [[5001, 5000, 1, 9002, 0, "IMAGE"]]

    sent = convert(graph([source(9001), *chain, saved(9002, 5001)], links), CATALOG)

    assert sent["9002"]["inputs"]["images"] == ["9001", 0]


@pytest.mark.parametrize("kind", ["reroutes", "bypassed"])
def test_each_place_on_thousands_of_ways_is_passed_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def passing(at: int) -> Any:
        if kind == "reroutes":
            return reroute(at, at, at + 1)
        return node(at, "TPass", mode=4, inputs=[into("image", at, "IMAGE")], outputs=[out("MASK"), out("IMAGE")])

    slot = {"reroutes": 0, "bypassed": 1}[kind]
    ends = [node(5000 + at, "TSave", ["x"]) for at in range(2000)]
    links = [[1, 4999, 0, 1, 0, "IMAGE"], *([at, at - 1, slot, at, 0, "*"] for at in range(2, 2001))]
    links += [[3000 + at, 2000, slot, 5000 + at, 0, "IMAGE"] for at in range(2000)]
    steps: list[Any] = []
    step = feeding._step
    monkeypatch.setattr(feeding, "_step", lambda at: steps.append(at) or step(at))

    sent = convert(graph([source(4999), *map(passing, range(1, 2001)), *ends], links), CATALOG)

    assert {tuple(sent[str(5000 + at)]["inputs"]["images"]) for at in range(2000)} == {("4999", 0)}
    assert len(steps) == 4000


@pytest.mark.parametrize("kind", ["reroutes", "bypassed", "boxes"])
def test_a_circle(kind: str) -> None:
    passing = definition("p", [], [[1, -10, 0, -20, 0, "*"]], [("a", "*", [1])], [("b", "*", [1])])
    makers = {
        "reroutes": lambda at, link: reroute(at, link),
        "bypassed": lambda at, link: node(
            at, "TPass", mode=4, inputs=[into("image", link, "IMAGE")], outputs=[out("IMAGE")]
        ),
        "boxes": lambda at, link: box(at, passing, links={"a": link}),
    }
    slot = 1 if kind == "bypassed" else 0
    nodes = [makers[kind](1, 2), makers[kind](2, 1), saved(3, 3)]
    links = [[1, 1, slot, 2, 0, "IMAGE"], [2, 2, slot, 1, 0, "IMAGE"], [3, 2, slot, 3, 0, "IMAGE"]]

    error = refused(graph(nodes, links, passing))

    assert error.message == "The links to node 3 (TSave), input 'images' go in a circle."


def test_a_million_links() -> None:
    error = refused({"nodes": [], "links": [None] * 1_000_000})

    assert error.message == f"The workflow has more than {MAX_LINKS} links, counted to 'links'."


def test_too_many_nodes() -> None:
    error = refused({"nodes": [{"id": 1, "type": "TSeed"}] * (MAX_NODES + 1), "links": []})

    assert error.details["place"] == "nodes"


def test_many_definitions_share_the_bounds() -> None:
    some = [{"id": at, "type": "TSeed"} for at in range(MAX_NODES // 2)]
    made = [{**definition(f"d{at}", [], []), "nodes": some} for at in range(3)]

    assert refused(graph([], [], *made)).details["place"] == "definitions.subgraphs[2].nodes"


def test_many_nodes_of_one_id_take_no_time() -> None:
    sent = convert(graph([node(1, "TSeed", [1]) for _ in range(MAX_NODES)]), CATALOG)

    assert len(sent) == MAX_NODES


def test_a_group_node_inside_itself() -> None:
    content = {"nodes": [{"type": "workflow>Me", "index": 0}], "links": []}

    error = refused(graph([node(1, "workflow>Me")], extra={"groupNodes": {"Me": content}}))

    assert error.message == "The group node 'Me' contains itself."


def test_doubling_group_nodes() -> None:
    groups = {f"g{at}": {"nodes": [{"type": f"workflow>g{at + 1}"}] * 2} for at in range(40)}

    error = refused(graph([node(1, "workflow>g0")], extra={"groupNodes": groups}))

    assert "once its group nodes are open" in error.message
    assert error.details["place"].startswith("extra.groupNodes.g")


def test_a_million_rows() -> None:
    error = refused(graph([node(3, "TRows", ["h", 10**6, *[0] * 10**6])]))

    assert error.message == "The values of the node at 'nodes[0]' cannot be read: 'rows' has more than 1000 rows."


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"nodes": 5}, ""),
        ({"nodes": [5]}, "nodes[0]"),
        ({"nodes": [{"id": [], "type": "x"}]}, "nodes[0].id"),
        ({"nodes": [{"id": 1}]}, "nodes[0]"),
        ({"nodes": [{"id": 1, "type": None}]}, "nodes[0].type"),
        ({"nodes": [{"id": 1, "type": "x", "inputs": {}}]}, "nodes[0].inputs"),
        ({"nodes": [{"id": 1, "type": "x", "outputs": [1]}]}, "nodes[0].outputs[0]"),
        ({"nodes": [{"id": 1, "type": "x", "widgets_values": "x"}]}, "nodes[0].widgets_values"),
        ({"nodes": [{"id": 1, "type": "x", "properties": []}]}, "nodes[0].properties"),
        ({"links": [[1, 2]]}, "links[0]"),
        ({"links": [[1, 2, "a", 3, 0]]}, "links[0]"),
        ({"links": {"a": 1}}, "links"),
        ({"definitions": []}, "definitions"),
        ({"definitions": {"subgraphs": [{"id": 1}]}}, "definitions.subgraphs[0].id"),
        (
            {"definitions": {"subgraphs": [{"id": "a", "links": [[1, 2, 3, 4, 5]]}]}},
            "definitions.subgraphs[0].links[0]",
        ),
    ],
)
def test_wrong_types_are_named_by_their_place(change: dict[str, Any], place: str) -> None:
    assert refused({"nodes": [], "links": [], **change}).details.get("place", "") == place


def test_every_unknown_class_is_named() -> None:
    unknown = [node(at, f"Nobody{at}", properties={"cnr_id": "comfy-core", "ver": "9.1.0"}) for at in range(1, 30)]
    hidden = [node(40, "Muted", mode=2), node(41, "Bypassed", mode=4)]

    with pytest.raises(UnknownClasses) as found:
        convert(graph([*unknown, *hidden]), CATALOG)

    assert [each["node_id"] for each in found.value.details["nodes"]] == [str(at) for at in range(1, 30)]
    assert "node 1 (Nobody1), which needs ComfyUI 9.1.0, and the workers have 0.30.0" in found.value.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**10) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(found for key, each in inner for found in places(each, (*at, key)))]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_whatever_stands_in_a_place_is_converted_or_refused(data: st.DataObject) -> None:
    workflow = copy.deepcopy(data.draw(st.sampled_from(list(RULES.values()))))
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from(places(workflow)[1:] or [("nodes",)]))
        inside: Any = workflow
        for key in path:
            inside = inside[key]
        inside[last] = data.draw(json_values)
    with contextlib.suppress(InvalidGraph):
        convert(workflow, CATALOG)
    with contextlib.suppress(InvalidGraph):
        active_nodes(workflow)
