"""Small workflows in the editor's format, one or more for each rule by which it makes the API's graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Graph = dict[str, Any]


def node(node_id: Any, kind: str, values: Any = None, **more: Any) -> dict[str, Any]:
    found = {"id": node_id, "type": kind, "pos": [0, 0], "size": [200, 100], "flags": {}, "order": 0, "mode": 0}
    found |= {"inputs": [], "outputs": [], "properties": {}} | more
    return found if values is None else {**found, "widgets_values": values}


def into(name: str, link: int | None = None, type_: str = "*", widget: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "type": type_, "link": link}
    return found if widget is None else {**found, "widget": {"name": widget}}


def out(type_: str, *links: int, name: str = "out") -> dict[str, Any]:
    return {"name": name, "type": type_, "links": list(links)}


def graph(nodes: Sequence[Any], links: Sequence[Any] = (), *definitions: Any, **more: Any) -> Graph:
    found: Graph = {"last_node_id": 99, "last_link_id": 99, "nodes": list(nodes), "links": list(links), "groups": []}
    found |= {"config": {}, "extra": {}, "version": 0.4} | more
    return found | ({"definitions": {"subgraphs": list(definitions)}} if definitions else {})


def definition(
    name: str,
    nodes: Sequence[Any],
    links: Sequence[Sequence[Any]],
    inputs: Sequence[tuple[str, str, Sequence[int]]] = (),
    outputs: Sequence[tuple[str, str, Sequence[int]]] = (),
) -> dict[str, Any]:
    """A definition of a subgraph; links are [id, from, slot, to, slot, type] here, too."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")

    def slot(number: int, side: str, each: tuple[str, str, Sequence[int]]) -> dict[str, Any]:
        return {"id": uuid(f"{name}{side}{number}"), "name": each[0], "type": each[1], "linkIds": list(each[2])}

    return {
        "id": uuid(name),
        "version": 1,
        "revision": 0,
        "state": {"lastGroupId": 0, "lastNodeId": 99, "lastLinkId": 99, "lastRerouteId": 0},
        "config": {},
        "name": name,
        "inputNode": {"id": -10, "bounding": [0, 0, 120, 60]},
        "outputNode": {"id": -20, "bounding": [500, 0, 120, 60]},
        "inputs": [slot(number, "i", each) for number, each in enumerate(inputs)],
        "outputs": [slot(number, "o", each) for number, each in enumerate(outputs)],
        "widgets": [],
        "nodes": list(nodes),
        "groups": [],
        "links": [dict(zip(keys, link, strict=True)) for link in links],
        "extra": {},
    }


def uuid(name: str) -> str:
    """An id as the editor makes them, that follows from a name."""
    digits = (name.encode().hex() * 32)[:32]
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


SOURCE_OUT = [
    *(out(type_) for type_ in ("IMAGE", "MASK", "INT", "FLOAT", "STRING", "BOOLEAN", "MODEL", "COMBO", "*")),
]
IMAGE, MASK, INT, FLOAT, STRING, BOOLEAN, MODEL, COMBO, ANY = range(9)


def source(node_id: Any = 1, **more: Any) -> dict[str, Any]:
    return node(node_id, "TSource", outputs=SOURCE_OUT, **more)


def widgets(kind: str, *values: Any, **more: Any) -> Graph:
    return graph([node(1, kind, list(values), **more)])


def fed(kind: str, name: str, slot: int, to_slot: int, *values: Any, inputs: Any = None) -> Graph:
    """A node one of whose inputs is fed by the source."""
    into_it = [into(name, 1)] if inputs is None else inputs
    return graph([source(), node(2, kind, list(values), inputs=into_it)], [[1, 1, slot, 2, to_slot, "*"]])


WIDGETS: Mapping[str, Graph] = {
    "values by position": widgets("TSeed", 7, "randomize", 30, "y"),
    "no values": graph([node(1, "TSeed")]),
    "too few values": widgets("TSeed", 7),
    "too many values": widgets("TSeed", 7, "fixed", 30, "y", 1, 2, 3),
    "nulls": widgets("TSeed", None, None, None, None),
    "values of other types": widgets("TSeed", "7", "fixed", 30.5, 12),
    "a choice that is gone": widgets("TSeed", 7, "fixed", 30, "gone"),
    "old marks of controls": widgets("TSeed", 7, True, 30, "y"),
    "controls by option": widgets("TNoSeed", 1, 2, "fixed", 0.5, "randomize", "q", "fixed", "filter", "text"),
    "controls by option, defaults": graph([node(1, "TNoSeed")]),
    "order of names": widgets("TOrder", 0.25, "s", 3, False),
    "order of names, defaults": graph([node(1, "TOrder")]),
    "forced": widgets("TForced", 1, "fixed", 0.5, 3, "u"),
    "forced, before 1.16": widgets("TForced", 1, "fixed", "text", 0.5, 3, 4, "u"),
    "forced, other count": widgets("TForced", 1, "fixed", "text", 0.5, 3, 4),
    "kinds, defaults": graph([node(1, "TKinds")]),
    "kinds": widgets(
        *("TKinds", "#ff0000", {"x": 1, "y": 2, "width": 3, "height": 4}, 1, 2, 3, 4, 11, [{"x": 1}], ["#fff"]),
        *("area", "marks", {"a": 1}, {"min": 0.25, "max": 0.5}, 12),
    ),
    "curve": widgets("TCurve", [[0, 0], [1, 1]], 5),
    "choices, defaults": graph([node(1, "TChoices")]),
    "choices": widgets("TChoices", "e", "b", "a", "c", 3, ["a", "c"], "text", "line", True),
    "kinds, nulls": widgets("TKinds", *[None] * 14),
    "a text of several lines that is none": graph(
        [
            node(number, "TChoices", ["e", "b", "a", "c", 3, ["a", "c"], value, value, value])
            for number, value in enumerate((5, 5.5, True, ["a", 2], {"a": 1}), 1)
        ]
    ),
    "choices, nulls": widgets("TChoices", None, None, None, None, None, None, None, None, None),
    "types, defaults": graph([node(1, "TTypes")]),
    "types": widgets("TTypes", 1.5, 2, 3, 4),
    "an upload": widgets("TUpload", "b.png", 7, "image"),
    "an upload, optional": widgets("TUploadOptional", 7, "a.png", "image"),
    "a list as a value": widgets("TChoices", "e", "b", "a", "c", 3, ["1", 0], "text", ["2", 0], True),
    "an object as a value": widgets("TSeed", {"a": [1, 2]}, "fixed", 4, "y"),
    "a title and a pack": graph(
        [
            node(1, "TSeed", title="Mine", properties={"cnr_id": "my-pack", "ver": "v1.2.3", "aux_id": "me/pack"}),
            node(2, "TSeed", properties={"cnr_id": "-bad", "ver": "unknown", "aux_id": "me"}),
            node(3, "TSeed", properties={"ver": "0123abcdef", "aux_id": "me-too/my.pack"}),
        ]
    ),
    "a doubled id": graph([node(1, "TSeed", [7]), node(1, "TSeed", [8])]),
    "a text as id": graph([node("a", "TSeed", [7]), node(2, "TNoSeed", [8])]),
    "absent parts": graph([{"id": 1, "type": "TSeed"}, {"id": 2, "type": "TSeed", "inputs": None, "outputs": None}]),
}

TEXTS: Mapping[str, Graph] = {
    "comments and choices": widgets(
        "TText", "a /* b\n c */ {red|{dark|light} blue} \\{cat\\} x // no\nhttp://x y {open|", "{a|b} // x"
    ),
    "unbalanced": widgets("TText", "a } b | c {x} {} { \\| \\\\ {a|{b|c}", "x"),
    "numbers": widgets("TText", 5, 6),
    "a file name": graph(
        [
            node(1, "SaveImage", ["%date:yyyy-MM-dd%/%date:hhmmss yy M d h m s%_%TSeed.steps%_%Mine.seed%"]),
            node(2, "TSeed", [7, "fixed", 30, "y"], properties={"Node name for S&R": "TSeed"}),
            node(3, "TSeed", [8, "fixed", 31, "x"], title="Mine", properties={"Node name for S&R": "Other"}),
            node(4, "SaveImage", ["%width%x%height% %None.x% %TSeed.none% %TText.text% %TSeed% 100% %a.b.c%"]),
            node(5, "TText", ['a/b?c<d>e\\f:g*h|i"j', "x"]),
            node(6, "TSave", ["%date:yyyy%"]),
        ]
    ),
}

LINKS: Mapping[str, Graph] = {
    "a link to a socket": fed("TSave", "images", IMAGE, 0, "x"),
    "a link to a widget": fed("TSeed", "steps", INT, 1, 7, "fixed", 30, "y"),
    "a link by number alone": fed("TSave", "images", IMAGE, 0, "x", inputs=[]),
    "a link to a widget by number alone": fed("TSeed", "steps", INT, 1, 7, "fixed", 30, "y", inputs=[]),
    "a name beats a number": fed("TOrder", "m", MASK, 0, 0.5, "s", 1, True),
    "a link that the list lacks": graph([source(), node(2, "TSave", ["x"], inputs=[into("images", 7)])]),
    "a link that no input names": graph(
        [source(), node(2, "TSave", ["x"], inputs=[into("images"), into("mask")])], [[1, 1, MASK, 2, 1, "MASK"]]
    ),
    "a link out of range": fed("TSave", "images", IMAGE, 9, "x", inputs=[]),
    "two links to a socket": graph(
        [source(), node(2, "TSave", ["x"], inputs=[into("images", 4)])],
        [[3, 1, MASK, 2, 0, "IMAGE"], [4, 1, IMAGE, 2, 0, "IMAGE"]],
    ),
    "an input by script": fed("TSave", "any_01", MODEL, 5, "x"),
    "an input by script, and one of a widget that is gone": graph(
        [source(), node(2, "TSave", ["x"], inputs=[into("gone", 1, "INT", "gone"), into("any_01", 2, "MODEL")])],
        [[1, 1, INT, 2, 3, "INT"], [2, 1, MODEL, 2, 4, "MODEL"]],
    ),
    "links as objects": graph(
        [source(), node(2, "TSave", ["x"], inputs=[into("images", 1)])],
        [{"id": 1, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "IMAGE"}],
        version=1,
        state={"lastGroupId": 0, "lastNodeId": 99, "lastLinkId": 99, "lastRerouteId": 0},
    ),
    "drawn reroutes": graph(
        [source(), node(2, "TSave", ["x"], inputs=[into("images", 1)])],
        [[1, 1, IMAGE, 2, 0, "IMAGE"]],
        extra={
            "reroutes": [
                {"id": 1, "pos": [1, 1], "linkIds": [1]},
                {"id": 2, "parentId": 1, "pos": [1, 1], "linkIds": [1]},
            ],
            "linkExtensions": [{"id": 1, "parentId": 2}],
        },
    ),
    "inputs of a type of any": graph(
        [source(), node(2, "TAny", [], inputs=[into("any", 1), into("more", 2)]), node(3, "TTypes", [1, 2, 3, 4])],
        [[1, 1, IMAGE, 2, 0, "*"], [2, 3, 1, 2, 1, "*"]],
    ),
}


def passed(mode: int, slot: int, type_: str, *, values: Sequence[Any] = (0.25,)) -> Graph:
    """A node between the source and a save, muted or bypassed."""
    inputs = [
        into("image", 1, "IMAGE"),
        into("mask", 2, "MASK"),
        into("other"),
        into("amount", None, "FLOAT", "amount"),
    ]
    name, to = ("mask", 1) if type_ == "MASK" else ("images", 0)
    return graph(
        [
            source(),
            node(2, "TPass", list(values), mode=mode, inputs=inputs, outputs=[out("MASK"), out("IMAGE"), out("FLOAT")]),
            node(3, "TSave", ["x"], inputs=[into(name, 3, type_)]),
        ],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 1, MASK, 2, 1, "MASK"], [3, 2, slot, 3, to, type_]],
    )


MODES: Mapping[str, Graph] = {
    **{
        f"mode {mode}, output {slot}": passed(mode, slot, type_)
        for mode in (0, 1, 2, 3, 4)
        for slot, type_ in ((0, "MASK"), (1, "IMAGE"))
    },
    "bypassed, nothing fits": graph(
        [
            source(),
            node(2, "TPass", [0.5], mode=4, inputs=[into("image", 1, "IMAGE")]),
            node(3, "TNumbers", [1, 2, 3, 4, 5, 6], inputs=[into("tenths", 2, "FLOAT", "tenths")]),
        ],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 2, 2, 3, 2, "FLOAT"]],
    ),
    "bypassed, for any": graph(
        [
            source(),
            node(2, "TPass", [0.5], mode=4, inputs=[into("image", 1)]),
            node(3, "TAny", inputs=[into("any", 2)]),
        ],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 2, 3, 3, 0, "*"]],
    ),
    "muted, then a widget": graph(
        [node(1, "TSeed", [7], mode=2), node(2, "TSeed", [1, "fixed", 2, "y"], inputs=[into("steps", 1, "INT")])],
        [[1, 1, 0, 2, 1, "INT"]],
    ),
    "bypassed, with a choice": graph(
        [
            source(),
            node(2, "TSeed", [1, "fixed", 2, "y"], mode=4, inputs=[into("seed", 1, "INT", "seed")]),
            node(3, "TSeed", [1, "fixed", 2, "y"], inputs=[into("steps", 2, "INT", "steps")]),
        ],
        [[1, 1, INT, 2, 0, "INT"], [2, 2, 0, 3, 1, "INT"]],
    ),
    "bypassed twice": graph(
        [
            source(),
            node(2, "TPass", [0.5], mode=4, inputs=[into("image", 1)]),
            node(3, "TOrder", [0.5, "s", 1, True], mode=4, inputs=[into("pic", 2)]),
            node(4, "TSave", ["x"], inputs=[into("images", 3)]),
        ],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 2, 1, 3, 0, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"]],
    ),
}


def reroute(node_id: int, link: int | None, *links: int, type_: str = "*", **more: Any) -> dict[str, Any]:
    return node(node_id, "Reroute", inputs=[into("", link)], outputs=[out(type_, *links, name="")], **more)


EDITOR_ONLY: Mapping[str, Graph] = {
    "notes": graph([node(1, "Note", ["n"]), node(2, "MarkdownNote", ["n"]), node(3, "TSeed", [7])]),
    "reroutes": graph(
        [source(), reroute(2, 1, 2), reroute(3, 2, 3), node(4, "TSave", ["x"], inputs=[into("images", 3)])],
        [[1, 1, IMAGE, 2, 0, "*"], [2, 2, 0, 3, 0, "*"], [3, 3, 0, 4, 0, "IMAGE"]],
    ),
    "a muted reroute": graph(
        [source(), reroute(2, 1, 2, mode=2), node(4, "TSave", ["x"], inputs=[into("images", 2)])],
        [[1, 1, IMAGE, 2, 0, "*"], [2, 2, 0, 4, 0, "IMAGE"]],
    ),
    "a bypassed reroute": graph(
        [source(), reroute(2, 1, 2, mode=4), node(4, "TSave", ["x"], inputs=[into("images", 2)])],
        [[1, 1, IMAGE, 2, 0, "*"], [2, 2, 0, 4, 0, "IMAGE"]],
    ),
    "an open reroute": graph(
        [reroute(2, None, 2), node(4, "TSeed", [1, "fixed", 2, "y"], inputs=[into("steps", 2, "INT", "steps")])],
        [[2, 2, 0, 4, 1, "INT"]],
    ),
    "a reroute behind a bypass": graph(
        [
            source(),
            node(2, "TPass", [0.5], mode=4, inputs=[into("image", 1), into("mask", 2)]),
            reroute(3, 3, 4),
            node(4, "TSave", ["x"], inputs=[into("mask", 4)]),
        ],
        [[1, 1, 0, 2, 0, "IMAGE"], [2, 1, 1, 2, 1, "MASK"], [3, 2, 0, 3, 0, "*"], [4, 3, 0, 4, 1, "MASK"]],
    ),
    **{
        f"a primitive of {value} into {name}": graph(
            [
                node(1, "PrimitiveNode", [value, "fixed"], outputs=[out(type_, 1, name=type_)], **more),
                node(2, "TNumbers", [9, 9, 9, 1, 1, 1], inputs=[into(name, 1, type_, name)]),
            ],
            [[1, 1, 0, 2, at, type_]],
        )
        for at, name, type_, value, more in (
            (0, "whole", "INT", 21, {}),
            (0, "whole", "INT", 100.6, {"mode": 2}),
            (0, "whole", "INT", -7, {}),
            (6, "odd", "INT", 100, {}),
            (6, "odd", "INT", 1, {}),
            (6, "odd", "INT", 30, {}),
            (1, "plain", "INT", -3000, {}),
            (1, "plain", "INT", 3000, {}),
            (1, "plain", "INT", "text", {}),
            (1, "plain", "INT", " 7.6", {}),
            (1, "plain", "INT", "", {}),
            (1, "plain", "INT", True, {}),
            (1, "plain", "INT", None, {}),
            (2, "tenths", "FLOAT", -5, {}),
            (2, "tenths", "FLOAT", 3000.77, {}),
            (2, "tenths", "FLOAT", "4.56", {}),
            (1, "plain", "INT", "nan", {}),
            (1, "plain", "INT", "0x10", {}),
            (1, "plain", "INT", "1_000", {}),
            (1, "plain", "INT", "Infinity", {}),
            (0, "whole", "INT", "Infinity", {}),
            (2, "tenths", "FLOAT", "Infinity", {}),
            (2, "tenths", "FLOAT", "-1e400", {}),
            (3, "fine", "FLOAT", 100, {}),
            (1, "plain", "INT", 7.5, {"mode": 4}),
            (2, "tenths", "FLOAT", 3.14159, {}),
            (3, "fine", "FLOAT", 3.14159, {}),
            (4, "rounded", "FLOAT", 3.14159, {}),
            (4, "rounded", "FLOAT", 30.14159, {}),
            (5, "loose", "FLOAT", 3.14159, {}),
        )
    },
    "a primitive of a text": graph(
        [
            node(1, "PrimitiveNode", ["%TSeed.steps% {a|b}"], properties={"Run widget replace on values": True})
            | {"outputs": [out("STRING", 1, 2)]},
            node(
                2, "TText", ["x", "y"], inputs=[into("text", 1, "STRING", "text"), into("plain", 2, "STRING", "plain")]
            ),
            node(3, "TSeed", [7, "fixed", 30, "y"], properties={"Node name for S&R": "TSeed"}),
        ],
        [[1, 1, 0, 2, 0, "STRING"], [2, 1, 0, 2, 1, "STRING"]],
    ),
    "a primitive of a choice": graph(
        [
            node(1, "PrimitiveNode", ["y", "fixed", ""], outputs=[out("COMBO", 1)]),
            node(2, "TSeed", [7, "fixed", 30, "x"], inputs=[into("mode", 1, "COMBO", "mode")]),
        ],
        [[1, 1, 0, 2, 2, "COMBO"]],
    ),
    "a primitive without a value": graph(
        [
            node(1, "PrimitiveNode", outputs=[out("INT", 1)]),
            node(2, "TSeed", [7, "fixed", 30, "x"], inputs=[into("steps", 1, "INT", "steps")]),
        ],
        [[1, 1, 0, 2, 1, "INT"]],
    ),
    **{
        f"a primitive of {value} into a text": graph(
            [
                node(1, "PrimitiveNode", [value, "fixed"], outputs=[out("STRING", 1, 2)]),
                node(
                    2,
                    "TText",
                    ["x", "y"],
                    inputs=[into("text", 1, "STRING", "text"), into("plain", 2, "STRING", "plain")],
                ),
            ],
            [[1, 1, 0, 2, 0, "STRING"], [2, 1, 0, 2, 1, "STRING"]],
        )
        for value in (5, 2.5, None, True)
    },
    "primitives by the slots of an old file": graph(
        [
            node(1, "PrimitiveNode", [5, "fixed"], outputs=[out("INT", 1)]),
            node(3, "PrimitiveNode", ["y", "fixed", ""], outputs=[out("COMBO", 2)]),
            node(
                2,
                "TSeed",
                [7, "fixed", 30, "x"],
                inputs=[into("steps", 1, "INT", "steps"), into("mode", 2, "COMBO", "mode")],
            ),
        ],
        [[1, 1, 0, 2, 0, "INT"], [2, 3, 0, 2, 1, "COMBO"]],
    ),
    "a primitive behind a reroute": graph(
        [
            node(1, "PrimitiveNode", [5, "fixed"], outputs=[out("INT", 1)]),
            reroute(3, 1, 2),
            node(2, "TSeed", [7, "fixed", 30, "x"], inputs=[into("steps", 2, "INT", "steps")]),
        ],
        [[1, 1, 0, 3, 0, "INT"], [2, 3, 0, 2, 1, "INT"]],
    ),
}

GROWING: Mapping[str, Graph] = {
    "images that grow, none": graph([node(1, "TGrow", [4])]),
    "images that grow": graph(
        [
            source(),
            node(2, "TGrow", [4], inputs=[into(f"images.image{at}", link) for at, link in ((0, 1), (1, None), (3, 2))]),
        ],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 1, IMAGE, 2, 3, "IMAGE"]],
    ),
    "names that grow": graph(
        [source(), node(2, "TGrowNames", inputs=[into("first", 1), into("vars.a", 2), into("vars.b", 3)])],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 1, MODEL, 2, 1, "*"], [3, 1, MASK, 2, 2, "*"]],
    ),
    "values that grow": graph(
        [node(2, "TGrowValues", [0.1, 0.2, 5, "u"], inputs=[into("values.value0"), into("values.value1")])]
    ),
    "pairs that grow": graph(
        [
            source(),
            node(2, "TGrowTwo", inputs=[into("pairs.image0", 1), into("pairs.mask0", 2), into("pairs.image1", 3)]),
        ],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 1, MASK, 2, 1, "MASK"], [3, 1, IMAGE, 2, 2, "IMAGE"]],
    ),
    "none at first": graph(
        [source(), node(2, "TGrowNone", inputs=[into("images.image0", 1)])], [[1, 1, IMAGE, 2, 0, "IMAGE"]]
    ),
    "a bypassed one that grows": graph(
        [
            source(),
            node(2, "TGrowNames", mode=4, inputs=[into("first"), into("vars.a", 1)], outputs=[out("IMAGE", 2)]),
            node(3, "TSave", ["x"], inputs=[into("images", 2)]),
        ],
        [[1, 1, IMAGE, 2, 1, "*"], [2, 2, 0, 3, 0, "IMAGE"]],
    ),
    "chosen, default": graph([node(1, "TChoosing")]),
    "chosen by size": widgets("TChoosing", "g", "by size", 640, 480, 9),
    "chosen by picture": fed("TChoosing", "mode.picture", IMAGE, 2, "g", "by picture", 5, 9),
    "chosen, nested": widgets("TChoosing", "g", "nested", "deep", "text", 9),
    "chosen, nested flat": widgets("TChoosing", "g", "nested", "flat", 9),
    "chosen, many": fed("TChoosing", "mode.images.image1", IMAGE, 3, "g", "many", 9),
    **{
        f"chosen, many, {count} linked": graph(
            [
                source(),
                node(2, kind, ["g", "many", 9], inputs=[into(f"mode.images.image{at}", at + 1) for at in range(count)]),
            ],
            [[at + 1, 1, IMAGE, 2, at, "IMAGE"] for at in range(count)],
        )
        for kind, count in (("TChoosing", 1), ("TChoosing", 2))  # the editor loses the others
    },
    "chosen, nothing": widgets("TChoosing", "g", "nothing", 9),
    "chosen, gone": widgets("TChoosing", "g", "gone", 9),
    **{
        f"images that grow, {count} linked": graph(
            [source(), node(2, "TGrow", [4], inputs=[into(f"images.image{at}", at + 1) for at in range(count)])],
            [[at + 1, 1, IMAGE, 2, at, "IMAGE"] for at in range(count)],
        )
        for count in (1, 2, 3, 4, 5)
    },
    "rows, default": graph([node(1, "TRows")]),
    "rows": widgets("TRows", "g", 2, "a", 0.5, "b", 0.25, 9),
    **{
        f"rows, {count}": widgets("TRows", "g", count, "a", 0.5, "b", 0.25, 9)
        for count in (-1, 0, 1, 2.7, 3, 4, 7, 8, 12, 40, "2", None)
    },
    "matching": graph(
        [
            source(),
            node(2, "TMatch", inputs=[into("one", 1), into("two", 2)], outputs=[out("IMAGE", 3)]),
            node(3, "TSave", ["x"], inputs=[into("images", 3)]),
        ],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 1, IMAGE, 2, 1, "IMAGE"], [3, 2, 0, 3, 0, "IMAGE"]],
    ),
    "a choice of its own": graph([node(1, "CustomCombo", ["b", 1, "a", "b", ""])]),
    "a choice of its own, gone": graph([node(1, "CustomCombo", ["z", 1, "a", "b", ""])]),
}


SAMPLER = definition(
    "sampler",
    [
        node(
            71,
            "TSeed",
            [1, "fixed", 11, "x"],
            inputs=[into("steps", 3, "INT", "steps"), into("mode", 4, "COMBO", "mode")],
        )
        | {"outputs": [out("INT", 5), out("IMAGE", 2)]},
        node(72, "TPass", [0.5], inputs=[into("image", 1, "IMAGE"), into("amount", 6, "FLOAT", "amount")])
        | {"outputs": [out("MASK", 7), out("IMAGE"), out("FLOAT"), out("LATENT")]},
    ],
    [
        [1, -10, 0, 72, 0, "IMAGE"],
        [2, 71, 1, -20, 0, "IMAGE"],
        [3, -10, 1, 71, 1, "INT"],
        [4, -10, 2, 71, 2, "COMBO"],
        [5, 71, 0, -20, 1, "INT"],
        [6, -10, 3, 72, 3, "FLOAT"],
        [7, 72, 0, -20, 2, "MASK"],
    ],
    [("image", "IMAGE", [1]), ("steps", "INT", [3]), ("mode", "COMBO", [4]), ("amount", "FLOAT", [6])],
    [("image", "IMAGE", [2]), ("number", "INT", [5]), ("mask", "MASK", [7])],
)
OUTER = definition(
    "outer",
    [
        node(81, SAMPLER["id"], [21, "y", 0.75])
        | {
            "inputs": [
                *(into("image", 1, "IMAGE"), into("steps", 2, "INT", "steps"), into("mode", None, "COMBO", "mode")),
                into("amount", 3, "FLOAT", "amount"),
            ],
            "outputs": [out("IMAGE", 4), out("INT"), out("MASK")],
        },
    ],
    [[1, -10, 0, 81, 0, "IMAGE"], [2, -10, 1, 81, 1, "INT"], [3, -10, 2, 81, 3, "FLOAT"], [4, 81, 0, -20, 0, "IMAGE"]],
    [("picture", "IMAGE", [1]), ("steps", "INT", [2]), ("amount", "FLOAT", [3])],
    [("result", "IMAGE", [4])],
)
PASSING = definition(
    "passing",
    [source(61)],
    [[1, -10, 0, -20, 0, "IMAGE"], [2, 61, MASK, -20, 1, "MASK"]],
    [("image", "IMAGE", [1])],
    [("image", "IMAGE", [1]), ("mask", "MASK", [2])],
)
PRIMITIVE_IN = definition(
    "primitive",
    [
        node(51, "PrimitiveNode", [44, "fixed"], outputs=[out("INT", 1)]),
        node(52, "TSeed", [1, "fixed", 11, "x"], inputs=[into("steps", 1, "INT", "steps")]),
    ],
    [[1, 51, 0, 52, 1, "INT"], [2, 52, 1, -20, 0, "IMAGE"]],
    [],
    [("image", "IMAGE", [2])],
)
TWICE = definition(
    "twice",
    [
        node(41, "TSeed", [1, "fixed", 11, "x"], inputs=[into("steps", 1, "INT", "steps")]),
        node(
            42,
            "TSeed",
            [2, "fixed", 12, "y"],
            inputs=[into("steps", 2, "INT", "steps"), into("seed", 3, "INT", "seed")],
        ),
    ],
    [[1, -10, 0, 41, 1, "INT"], [2, -10, 0, 42, 1, "INT"], [3, -10, 0, 42, 0, "INT"], [4, 41, 1, -20, 0, "IMAGE"]],
    [("steps", "INT", [2, 1, 3])],
    [("image", "IMAGE", [4])],
)


def box(node_id: Any, of: Mapping[str, Any], values: Any = None, **more: Any) -> dict[str, Any]:
    """An instance of a definition; `links` are those at its inputs, by name."""
    links = more.pop("links", {})
    inputs = [into(each["name"], links.get(each["name"]), each["type"]) for each in of["inputs"]]
    outputs = [out(each["type"], name=each["name"]) for each in of["outputs"]]
    return node(node_id, of["id"], values, inputs=inputs, outputs=outputs, **more)


def saved(node_id: int, link: int) -> dict[str, Any]:
    return node(node_id, "TSave", ["x"], inputs=[into("images", link, "IMAGE")])


def boxed(of: Mapping[str, Any], values: Any, *more_definitions: Any, **more: Any) -> Graph:
    return graph([box(1, of, values, **more), saved(2, 1)], [[1, 1, 0, 2, 0, "IMAGE"]], of, *more_definitions)


BOXES: Mapping[str, Graph] = {
    "a box": boxed(SAMPLER, None),
    "a box with values": boxed(SAMPLER, [31, "y", 0.9]),
    "a box with too few values": boxed(SAMPLER, [31]),
    "a box with nulls": boxed(SAMPLER, [None, None, None]),
    "a box with values by name": boxed(SAMPLER, {"mode": "y"}),
    "a muted box": boxed(SAMPLER, [31, "y", 0.9], mode=2),
    "two boxes": graph(
        [box(1, SAMPLER, [31, "y", 0.9]), box(2, SAMPLER, [32, "x", 0.8]), saved(3, 1), saved(4, 2)],
        [[1, 1, 0, 3, 0, "IMAGE"], [2, 2, 0, 4, 0, "IMAGE"]],
        SAMPLER,
    ),
    "a fed box": graph(
        [source(), box(2, SAMPLER, [31, "y", 0.9], links={"image": 1, "steps": 2}), saved(3, 3)],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 1, INT, 2, 1, "INT"], [3, 2, 0, 3, 0, "IMAGE"]],
        SAMPLER,
    ),
    "a bypassed box": graph(
        [source(), box(2, SAMPLER, [31, "y", 0.9], links={"image": 1}, mode=4), saved(3, 3)],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [3, 2, 0, 3, 0, "IMAGE"]],
        SAMPLER,
    ),
    "a box fed by a muted node": graph(
        [source(1, mode=2), box(2, SAMPLER, [31, "y", 0.9], links={"steps": 2}), saved(3, 3)],
        [[2, 1, INT, 2, 1, "INT"], [3, 2, 0, 3, 0, "IMAGE"]],
        SAMPLER,
    ),
    **{
        f"a reroute of mode {mode} behind a box": graph(
            [box(1, SAMPLER, [31, "y", 0.9]), reroute(3, 1, 2, mode=mode), saved(2, 2)],
            [[1, 1, 0, 3, 0, "IMAGE"], [2, 3, 0, 2, 0, "IMAGE"]],
            SAMPLER,
        )
        for mode in (0, 2, 4)
    },
    "a box in a box": boxed(OUTER, None, SAMPLER),
    "a box in a box with values": boxed(OUTER, [41, 0.6], SAMPLER),
    "a box in a box, fed": graph(
        [source(), box(2, OUTER, [41, 0.6], links={"picture": 1, "steps": 2}), saved(3, 3)],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 1, INT, 2, 1, "INT"], [3, 2, 0, 3, 0, "IMAGE"]],
        OUTER,
        SAMPLER,
    ),
    "a primitive in a box": boxed(PRIMITIVE_IN, None),
    "a primitive into a box": graph(
        [
            node(5, "PrimitiveNode", [66, "fixed"], outputs=[out("INT", 2)]),
            box(1, SAMPLER, [31, "y", 0.9], links={"steps": 2}),
            saved(2, 1),
        ],
        [[1, 1, 0, 2, 0, "IMAGE"], [2, 5, 0, 1, 1, "INT"]],
        SAMPLER,
    ),
    "one input into several": boxed(TWICE, [77]),
    "one input into several, default": boxed(TWICE, None),
    "another output": graph(
        [box(1, SAMPLER, [31, "y", 0.9]), node(2, "TSave", ["x"], inputs=[into("mask", 1, "MASK")])],
        [[1, 1, 2, 2, 1, "MASK"]],
        SAMPLER,
    ),
    "inputs of a box that are gone": graph(
        [
            source(),
            box(2, SAMPLER, [31, "y", 0.9]) | {"inputs": [into("gone", 1, "IMAGE"), into("steps", 2, "INT")]},
            saved(3, 3),
        ],
        [[1, 1, IMAGE, 2, 0, "IMAGE"], [2, 1, INT, 2, 1, "INT"], [3, 2, 0, 3, 0, "IMAGE"]],
        SAMPLER,
    ),
    **{
        f"old lists of widgets {number}": boxed(of, values, *rest, properties={"proxyWidgets": listed})
        for number, (of, values, rest, listed) in enumerate(
            (
                (SAMPLER, [51, 52, "y"], (), [["71", "steps"], ["71", "seed"], ["71", "mode"]]),
                (SAMPLER, [52, 0.7], (), '[["71", "seed"], ["72", "amount"]]'),
                (SAMPLER, [53], (), [["-1", "steps"]]),
                (SAMPLER, [54, 55], (), [["71", "71: seed"], ["71", "$$preview"]]),
                (PRIMITIVE_IN, [56, "fixed"], (), [["51", "value"], ["51", "control_after_generate"]]),
                (PRIMITIVE_IN, [56], (), [["51", "value"]]),
                (OUTER, [57, "x"], (SAMPLER,), [["81", "steps"], ["81", "mode"]]),
                (SAMPLER, [58, "x"], (), [["99", "steps"], ["71", "mode"]]),
                (TWICE, [59, 60], (), [["41", "seed"], ["42", "steps"]]),
                (TWICE, [None, 61], (), [["41", "seed"], ["42", "seed"]]),
            )
        )
    },
}

GROUP = {
    "nodes": [
        node(-1, "TSeed", [1, "fixed", 11, "x"], index=0, outputs=[out("INT"), out("IMAGE")]),
        node(-1, "TPass", [0.5], index=1, inputs=[into("image"), into("mask"), into("other")]),
    ],
    "links": [[0, 1, 1, 0, 1, "IMAGE"]],
    "external": [],
}
EXTERNAL = {**GROUP, "external": [[0, 1, "IMAGE"]]}
HIDDEN = {**GROUP, "config": {"0": {"input": {"steps": {"visible": False}, "mode": {"name": "style"}}}}}


def grouped(content: Any, values: Any, inputs: Any, links: Any, *nodes: Any, name: str = "My Group") -> Graph:
    kind = f"workflow>{name}"
    found = [node(9, kind, values, inputs=inputs, outputs=[out("INT"), out("MASK"), out("IMAGE")]), *nodes]
    return graph(found, links, extra={"groupNodes": {name: content}})


GROUPS: Mapping[str, Graph] = {
    "a group node": grouped(GROUP, [7, "fixed", 22, "y", 0.75], [], [[1, 9, 2, 2, 0, "IMAGE"]], saved(2, 1)),
    "a group node, fed": grouped(
        *(GROUP, [7, "fixed", 22, "y", 0.75], [into("mask", 2, "MASK"), into("other", 3, "IMAGE")]),
        [[1, 9, 2, 2, 0, "IMAGE"], [2, 1, MASK, 9, 0, "MASK"], [3, 1, IMAGE, 9, 1, "IMAGE"]],
        *(saved(2, 1), source()),
    ),
    "a group node without values": grouped(GROUP, None, [], [[1, 9, 2, 2, 0, "IMAGE"]], saved(2, 1)),
    "a group node with too few values": grouped(GROUP, [7, "fixed"], [], [[1, 9, 2, 2, 0, "IMAGE"]], saved(2, 1)),
    "a group node with an output that is used inside": grouped(
        EXTERNAL, [7, "fixed", 22, "y", 0.75], [], [[1, 9, 1, 2, 0, "IMAGE"]], saved(2, 1)
    ),
    "a group node with a hidden widget": grouped(
        HIDDEN, [7, "fixed", "y", 0.75], [], [[1, 9, 2, 2, 0, "IMAGE"]], saved(2, 1)
    ),
}

RULES: Mapping[str, Graph] = {
    f"{group}: {name}": each
    for group, graphs in (
        *(("widgets", WIDGETS), ("texts", TEXTS), ("links", LINKS), ("modes", MODES), ("editor only", EDITOR_ONLY)),
        *(("growing", GROWING), ("boxes", BOXES), ("groups", GROUPS)),
    )
    for name, each in graphs.items()
}
