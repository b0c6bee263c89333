"""Group nodes, which the editor had before subgraphs: each becomes a box, and its content a definition of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from comfyward.errors import InvalidGraph
from comfyward.workflows.class_inputs import AllInputs, ClassInputs, Input
from comfyward.workflows.conversion.form import (
    INNER_INPUTS,
    INNER_OUTPUTS,
    MAX_SLOTS,
    SavedDefinition,
    SavedDefinitions,
    SavedFile,
    SavedGroup,
    SavedLink,
    SavedNode,
    SavedSlot,
    read_group,
    socket_type,
)
from comfyward.workflows.conversion.nodes import PRIMITIVE

MAX_GROUPED = 5_000  # nodes in group nodes
INPUTS, OUTPUTS = int(INNER_INPUTS), int(INNER_OUTPUTS)
MARKS = ("workflow>", "workflow/")


def with_definitions(file: SavedFile, classes: AllInputs) -> SavedFile:
    """The file with its group nodes as boxes. Raises InvalidGraph for groups that are damaged or contain themselves."""
    if not file.group_nodes:
        return file
    made: list[SavedDefinition] = []
    nodes = slots = 0
    groups: dict[str, SavedGroup] = {}
    waiting: deque[tuple[SavedNode, tuple[str, ...]]] = deque(
        (node, ()) for nodes in (file.nodes, *(each.nodes for each in file.subgraphs)) for node in nodes
    )
    while waiting:
        node, around = waiting.popleft()
        name = _group_name(node.type)
        if name is None or name not in file.group_nodes:
            continue
        if name in around:
            raise InvalidGraph(f"The group node '{name}' contains itself.", place=f"extra.groupNodes.{name}")
        if name not in groups:
            groups[name] = read_group(file.group_nodes[name], f"extra.groupNodes.{name}")
        nodes, slots = nodes + len(groups[name].nodes), slots + groups[name].slots
        if nodes > MAX_GROUPED or slots > MAX_SLOTS:
            message = "The workflow has too many nodes, or too many links, once its group nodes are open."
            raise InvalidGraph(message, place=f"extra.groupNodes.{name}", limit=MAX_GROUPED)
        definition = _Opening(node, groups[name], classes).definition(f"{node.type} {len(made)}", name)
        made.append(definition)
        node.type = definition.id
        waiting.extend((inner, (*around, name)) for inner in definition.nodes)
    file.definitions = SavedDefinitions([*file.subgraphs, *made])
    return file


def _group_name(type_: str) -> str | None:
    return next((type_.removeprefix(mark) for mark in MARKS if type_.startswith(mark)), None)


class _Opening:
    """The making of the definition of one group node, whose values are its own."""

    def __init__(self, box: SavedNode, group: SavedGroup, classes: AllInputs) -> None:
        self._box, self._group, self._classes = box, group, classes
        self._fed = {(link[2], link[3]): link for link in _whole(group.links)}
        self._used = {(link[0], link[1]) for link in _whole(group.links)}
        self._external = {(each[0], each[1]) for each in group.external or () if _is_place(each)}
        self._names: dict[str, int] = {}
        self._values = deque(box.widgets_values if isinstance(box.widgets_values, list) else ())
        self._inputs: list[tuple[str, str, int, int]] = []  # name, type, node, number of its socket
        self._widgets: list[tuple[str, str, int, int]] = []

    def definition(self, new_id: str, name: str) -> SavedDefinition:
        nodes = [self._node(number, node) for number, node in enumerate(self._group.nodes)]
        inputs = [*self._inputs, *self._widgets]
        outputs = list(self._outputs(nodes))
        ends = (SavedLink(f"in {at}", INPUTS, at, *each[2:]) for at, each in enumerate(inputs))
        starts = (SavedLink(f"out {at}", *each[1:], OUTPUTS, at) for at, each in enumerate(outputs))
        self._box.widgets_values = None
        return SavedDefinition(
            new_id,
            nodes,
            [*ends, *starts, *self._links()],
            [SavedSlot(name, type_, [f"in {at}"]) for at, (name, type_, _, _) in enumerate(inputs)],
            [SavedSlot("", type_, [f"out {at}"]) for at, (type_, _, _) in enumerate(outputs)],
            name,
        )

    def _links(self) -> Iterator[SavedLink]:
        """The links inside of the group, which count the slots that the nodes had when they were saved."""
        for at, (origin, origin_slot, target, slot, *_) in enumerate(_whole(self._group.links)):
            saved = self._group.nodes[target] if 0 <= target < len(self._group.nodes) else None
            known = saved and self._classes.of(saved.type)
            if saved and known and saved.inputs and 0 <= slot < len(saved.inputs):
                slot = known.numbers.get(saved.inputs[slot].name, slot)
            yield SavedLink(str(at), origin, origin_slot, target, slot)

    def _node(self, number: int, saved: SavedNode) -> SavedNode:
        """A node of the group with the values that the group node has for it."""
        node = msgspec.structs.replace(saved, id=number, inputs=None)
        known = self._classes.of(saved.type)
        if known is None:
            return self._unknown(number, node, saved)
        turned = {each.widget_name for each in saved.inputs or () if each.widget_name == each.name}
        node.widgets_values = self._values_of(number, saved, known, turned)
        self._offer_sockets(number, saved, known, turned)
        return node

    def _values_of(
        self, number: int, saved: SavedNode, known: ClassInputs, turned: Collection[str | None]
    ) -> list[Any]:
        """The node's values, those of widgets taken from the group node unless they were turned into sockets."""
        values: list[Any] = list(saved.widgets_values) if isinstance(saved.widgets_values, list) else []
        place = 0
        for each in known.laid_out:
            if each.widget is None:
                continue
            if each.name not in turned:
                self._name(number, saved, each.name)
                self._move(values, place, each.widget.places, each.widget.default)
            place += each.widget.places
        return values

    def _offer_sockets(self, number: int, saved: SavedNode, known: ClassInputs, turned: Collection[str | None]) -> None:
        """The sockets to which nothing inside of the group is linked are the group node's, unless it hides them."""
        own = {each.name: at for at, each in enumerate(saved.inputs or ())}
        sockets = [each for each in known.laid_out if not each.is_socketless]
        for at, each in enumerate(sockets):
            is_turned = each.name in turned
            if (each.widget is not None and not is_turned) or self._link_to(number, each, own, at) is not None:
                continue
            if is_turned or self._is_visible(number, each.name):
                found = (self._name(number, saved, each.name), each.type, number, at)
                (self._widgets if is_turned else self._inputs).append(found)

    def _unknown(self, number: int, node: SavedNode, saved: SavedNode) -> SavedNode:
        """A node of no class that is known here: a primitive's value is the group node's."""
        node.inputs = saved.inputs
        if saved.type == PRIMITIVE and isinstance(saved.widgets_values, list) and self._is_visible(number, "value"):
            values = list(saved.widgets_values)
            self._move(values, 0, len(values), values[0] if values else None)
            node.widgets_values = values
        return node

    def _move(self, values: list[Any], place: int, count: int, default: Any) -> None:
        """Takes the next values of the group node for one widget and its controls; the default if they are too few."""
        values.extend([None] * (place + count - len(values)))
        for at in range(place, place + count):
            if self._values:
                values[at] = self._values.popleft()
            elif at == place:
                values[at] = default

    def _link_to(self, number: int, each: Input, own: Mapping[str, int], at: int) -> Sequence[int] | None:
        """The link inside of the group to a socket, numbered as in the node's own file, else as laid out."""
        return self._fed.get((number, own.get(each.name, at)))

    def _is_visible(self, number: int, name: str) -> bool:
        return self._setting(number, "input", name).get("visible") is not False

    def _setting(self, number: int, side: str, name: str) -> dict[str, Any]:
        found: Any = (self._group.config or {}).get(str(number))
        for key in (side, name):
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def _name(self, number: int, saved: SavedNode, name: str) -> str:
        """The name of a group node's input, told apart from the others as the editor does."""
        given = self._setting(number, "input", name).get("name")
        shown = given if isinstance(given, str) else name
        counted = shown
        if shown in self._names:
            title = saved.title if isinstance(saved.title, str) else saved.type
            counted = shown = f"{title} {name}"
            if shown in self._names:
                shown = f"{title} {self._names[shown]} {name}"
        self._names[counted] = self._names.get(counted, 1) + 1
        return shown

    def _outputs(self, nodes: Iterable[SavedNode]) -> Iterator[tuple[str, int, int]]:
        for number, node in enumerate(nodes):
            known = self._classes.of(node.type)
            types = known.outputs if known else [socket_type(each.type) for each in node.outputs or ()]
            for slot, type_ in enumerate(types):
                is_hidden = (number, slot) in self._used and (number, slot) not in self._external
                visible = self._setting(number, "output", str(slot)).get("visible")
                if visible if isinstance(visible, bool) else not is_hidden:
                    yield type_, number, slot


def _whole(links: Iterable[Sequence[Any]] | None) -> list[list[int]]:
    """The links between nodes of the group; others have None at one end."""
    return [list(link) for link in links or () if len(link) > 3 and all(isinstance(each, int) for each in link[:4])]


def _is_place(entry: list[Any]) -> bool:
    """True for an entry that begins with the numbers of a node and of its output."""
    return len(entry) > 1 and all(isinstance(number, int) for number in entry[:2])
