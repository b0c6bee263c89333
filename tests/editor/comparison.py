"""The differences between a conversion and what the editor sends."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from comfyward.errors import ComfywardError
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.conversion.conversion import convert
from tests.editor.real import NOW_AT

Sent = dict[str, Any]
INACTIVE = (2, 4)


def converted(workflow: Any, catalog: Catalog) -> Any:
    """{"sent": graph}, or {"failed": message}, as from the editor: the time stands still, the first choice is taken."""
    try:
        return {"sent": plain(convert(workflow, catalog, NOW_AT, lambda count: 0))}
    except ComfywardError as error:
        return {"failed": error.message}


def differences(workflow: Any, ours: Any, editors: Any) -> list[str]:
    """Sentences; empty if both have sent the same.

    The editor gives new ids where one is taken by another graph of the file: there, graphs are compared by what is
    linked to what. What it sends of boxes that are off inside of subgraphs is left out; nothing leads there.
    """
    if "sent" not in ours or "sent" not in editors:
        return [] if "sent" not in ours and "sent" not in editors else [f"ours {ours}, the editor's {editors}"[:2000]]
    off = tuple(boxes_off(workflow))
    sent, answer = ours["sent"], plain(editors["sent"])
    answer = {key: each for key, each in answer.items() if not (off and key.startswith(off))}
    if sent == answer or (sent.keys() != answer.keys() and signatures(sent) == signatures(answer)):
        return []
    return list(_told(sent, answer))


def plain(value: Any) -> Any:
    """The value as JavaScript has it: 1.0 is 1."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case _:
            return value


def signatures(graph: Sent) -> Counter[str]:
    """What each node is, with all that leads to it, without ids."""
    found: dict[str, str] = {}
    waiting = list(graph)
    while waiting:
        node_id = waiting[-1]
        inputs = graph[node_id]["inputs"]
        needed = [each[0] for each in inputs.values() if _is_link(each, graph)]
        left = [each for each in needed if each not in found]
        if left and len(waiting) < 10_000:
            waiting.extend(left)
            continue
        waiting.pop()
        shown = {
            name: [hash(found.get(each[0], "")), each[1]] if _is_link(each, graph) else each
            for name, each in inputs.items()
        }
        rest = {key: each for key, each in graph[node_id].items() if key != "inputs"}
        found[node_id] = json.dumps([node_id.count(":"), rest, shown], sort_keys=True)
    return Counter(found.values())


def boxes_off(workflow: Any) -> Iterator[str]:
    """The paths of muted and bypassed boxes inside of subgraphs, each with a colon."""
    inside = {each["id"]: each["nodes"] for each in (workflow.get("definitions") or {}).get("subgraphs") or ()}
    waiting = [("", node) for node in workflow["nodes"]]
    while waiting:
        prefix, node = waiting.pop()
        if node["type"] not in inside:
            continue
        path = f"{prefix}{node['id']}:"
        if node.get("mode") in INACTIVE:
            if prefix:
                yield path
            continue
        waiting.extend((path, inner) for inner in inside[node["type"]])


def _is_link(value: Any, graph: Sent) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in graph


def _told(sent: Sent, answer: Sent) -> Iterator[str]:
    for node_id in sorted(sent.keys() | answer.keys()):
        ours, editors = sent.get(node_id), answer.get(node_id)
        if ours == editors:
            continue
        if ours is None or editors is None:
            whose = "the editor" if ours is None else "we"
            yield f"{node_id}: only {whose} send {(ours or editors or {})['class_type']}"
            continue
        for part in ("class_type", "_meta"):
            if ours[part] != editors[part]:
                yield f"{node_id}: {part} ours {ours[part]}, the editor's {editors[part]}"
        for name in sorted(ours["inputs"].keys() | editors["inputs"].keys()):
            mine, its = (each["inputs"].get(name, "nothing") for each in (ours, editors))
            if mine != its:
                yield f"{node_id} ({ours['class_type']}): {name} ours {mine!r:.200}, the editor's {its!r:.200}"
