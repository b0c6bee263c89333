"""The values of a node's widgets, which its file has by position alone, and the inputs that depend on them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from comfyward.workflows.class_inputs import (
    CHOICE,
    CHOOSING,
    ROWS,
    ClassInputs,
    Group,
    Input,
    Widget,
    inputs_of,
)
from comfyward.workflows.conversion.form import SavedNode
from comfyward.workflows.conversion.texts import shown

MOST_ROWS = 20
MOST_NESTED = 1000  # inputs of one node
CUSTOM_CHOICE = "CustomCombo"


class Held(msgspec.Struct):
    """The sockets of a node in their order, its widgets, and the value of each that has one."""

    names: Sequence[str]
    types: Sequence[str]
    widgets: Sequence[Widget]
    values: dict[str, Any]


def held_by(saved: SavedNode, known: ClassInputs) -> Held:
    """The sockets and values of a node of a known class."""
    places = _Places(_without_forced(saved.widgets_values, known))
    if known.is_fixed:
        return Held(
            known.names,
            known.types,
            known.widgets,
            {widget.name: value for widget in known.widgets if (value := places.take(widget)) is not msgspec.UNSET},
        )
    if saved.type == CUSTOM_CHOICE:
        return _custom_choice(known, places)
    return _growing(saved, known, places)


class _Places:
    """Saved values, taken one widget after the other."""

    def __init__(self, saved: list[Any] | Mapping[str, Any] | None) -> None:
        self._named = saved if isinstance(saved, Mapping) else None
        self._listed = saved if isinstance(saved, list) else []
        self._at = 0

    def take(self, widget: Widget) -> Any:
        """The widget's value, UNSET for a choice of nothing."""
        at, self._at = self._at, self._at + widget.places
        if self._named is not None:
            if widget.name not in self._named:
                return widget.default if widget.has_default else msgspec.UNSET
            value = self._named[widget.name]
        elif widget.places and at < len(self._listed):
            value = self._listed[at]
        else:
            return widget.default if widget.has_default else msgspec.UNSET
        return as_held(widget, value)

    def end(self) -> None:
        """Reads no more of them."""
        self._listed, self._named = self._listed[: self._at], None if self._named is None else {}

    @property
    def count(self) -> int:
        return len(self._listed)

    def rest(self) -> list[Any]:
        return self._listed[self._at :]


def as_held(widget: Widget, value: Any) -> Any:
    """The value as a widget holds it: a field of several lines holds texts only, a choice is always of something."""
    if widget.is_text:
        return shown(value)
    if value is None and widget.kind == CHOICE:
        return "" if widget.options.get("multi_select") else next(iter(widget.choices), None)
    return value


def _without_forced(saved: list[Any] | dict[str, Any] | None, known: ClassInputs) -> list[Any] | dict[str, Any] | None:
    """The values without those of inputs that were widgets before they were forced to be sockets (editors before 1.16).

    Such a list is known by its length alone.
    """
    if not isinstance(saved, list) or not known.has_forced:
        return saved
    flags: list[bool] = []
    for each in known.declared:
        if each.widget is not None or each.is_forced:
            flags += [each.is_forced, False] if each.has_control else [each.is_forced]
    return [value for value, flag in zip(saved, flags, strict=True) if not flag] if len(flags) == len(saved) else saved


def _growing(saved: SavedNode, known: ClassInputs, places: _Places) -> Held:
    linked = [each.name for each in saved.inputs or ()]
    sockets = [inner for each in known.declared if each.widget is None for inner in _members(each, linked)]
    waiting = deque((*sockets, *(each for each in known.declared if each.widget is not None)))
    found: list[Input] = []
    widgets: list[Widget] = []
    values: dict[str, Any] = {}
    while waiting:
        if len(found) > MOST_NESTED:
            raise ValueError(f"it has more than {MOST_NESTED} inputs")
        each = waiting.popleft()
        found.append(each)
        if each.widget is None:
            continue
        widgets.append(each.widget)
        value = places.take(each.widget)
        if value is not msgspec.UNSET:
            values[each.name] = value
        inner = _brought_by(each.widget, value, places)
        waiting.extendleft(reversed([member for one in inner for member in _members(one, linked)]))
    with_socket = [each for each in found if not each.is_socketless]
    return Held([each.name for each in with_socket], [each.type for each in with_socket], widgets, values)


def _brought_by(widget: Widget, value: Any, places: _Places) -> Iterable[Input]:
    """The inputs that a widget's value adds to its node."""
    if widget.kind == CHOOSING:
        return _chosen(widget, value)
    return _rows(widget, value, places) if widget.kind == ROWS else ()


def _members(each: Input, linked: Sequence[str]) -> Iterator[Input]:
    """The input itself, or the members of a group: those of a new node, and all up to the last that is linked."""
    if each.group is None:
        yield each
        return
    last = max((_number(each.group, name.removeprefix(f"{each.name}.")) for name in linked), default=-1)
    for member in each.group.names[: max(each.group.first, last + 1)]:
        yield from each.group.inputs(each.name, member)


def _number(group: Group, name: str) -> int:
    """The number of the member that an input belongs to; -1 for one of another group."""
    for number, member in enumerate(group.names):
        if name == member or (len(group.fields) > 1 and any(name == f"{field.name}{member}" for field in group.fields)):
            return number
    return -1


def _chosen(widget: Widget, key: Any) -> Iterator[Input]:
    for option in widget.choices:
        if isinstance(option, dict) and option.get("key") == key:
            yield from inputs_of(option.get("inputs"), prefix=f"{widget.name}.", with_control=False)
            return


def _rows(widget: Widget, count: Any, places: _Places) -> Iterator[Input]:
    low, high = (_bound(widget.options.get(name), other) for name, other in (("min", 0), ("max", MOST_ROWS)))
    if isinstance(count, bool) or not isinstance(count, int | float) or not math.isfinite(count):
        count = low
    count = max(int(count), low)
    if count > max(high, places.count):
        places.end()
        count = low
    if count > MOST_NESTED:
        raise ValueError(f"'{widget.name}' has more than {MOST_NESTED} rows")
    for number in range(count):
        prefix = f"{widget.name}.{number}."
        yield from inputs_of(widget.options.get("template"), prefix=prefix, with_control=False)


def _bound(value: Any, other: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else other


def _custom_choice(known: ClassInputs, places: _Places) -> Held:
    """A choice among texts that the node itself has: they follow it, the last one empty."""
    values = {widget.name: places.take(widget) for widget in known.widgets if widget.name == "choice"}
    options = places.rest()[1:]
    while options and options[-1] in ("", None):
        options.pop()
    options.append("")
    values["index"] = options.index(values["choice"]) if values.get("choice") in options else -1
    values |= {f"option{number}": option for number, option in enumerate(options, 1)}
    added = [Widget(name, "STRING", "", {}, 1, is_sent=True) for name in values if name not in known.numbers]
    widgets = [widget for widget in known.widgets if widget.name == "choice"] + added
    names = [*known.names, *(widget.name for widget in added)]
    return Held(names, [*known.types, *("STRING" for _ in added)], widgets, values)
