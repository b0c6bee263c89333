"""The editor's primitives: values that are written into the widgets that they feed, as if they were typed there."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from comfyward.workflows.class_inputs import Widget
from comfyward.workflows.conversion.boxes import fed_by
from comfyward.workflows.conversion.scopes import Scope
from comfyward.workflows.conversion.texts import shown

_DECIMAL = re.compile(r"[+-]?(?:Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
_OF_A_BASE = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
MOST = 1e300  # beyond it, what is added or multiplied may be no number
REPLACES = "Run widget replace on values"
STEP = 0.5  # of a FLOAT that says none


def feed_widgets(scope: Scope, replace: Callable[[str], str]) -> None:
    """Writes the primitives of a scope, muted ones too; `replace` fills in the words of a text that asks for it."""
    for node in scope.nodes.values():
        saved = node.saved.widgets_values
        if not node.is_primitive or not isinstance(saved, list) or not saved:
            continue
        value = saved[0]
        if isinstance(value, str) and value and node.properties.get(REPLACES):
            value = replace(value)
        fed = [(target, name, target.widget(name)) for target, name in fed_by(scope, node)]
        if fed and fed[0][2] is not None and fed[0][2].is_text:  # a primitive looks like the first widget that it feeds
            value = shown(value)
        for target, name, widget in fed:
            target.values[name] = typed(widget, value) if widget is not None else value


def typed(widget: Widget, value: Any) -> Any:
    """The value as a widget holds it: a number is rounded, and a field of several lines holds texts only."""
    if widget.kind not in ("INT", "FLOAT"):
        return shown(value) if widget.is_text else value
    number = _as_number(value)
    if number is None:
        return None
    if widget.kind == "FLOAT":
        return _rounded(number, widget)
    if math.isinf(number):
        return None
    number = min(max(number, _number(widget, "min", -math.inf)), _number(widget, "max", math.inf))
    return _whole(number, _number(widget, "step", 1) or 1, _number(widget, "min", 0))


def _as_number(value: Any) -> float | None:
    """The number that JavaScript reads in a value; None for no number."""
    match value:
        case None:
            return 0
        case bool():
            return int(value)
        case int() | float() if abs(value) <= MOST:
            return value
        case str():
            return _read(value.strip())
        case _:
            return None


def _read(text: str) -> float | None:
    """The number in a text.

    >>> _read("1e3"), _read("0x10"), _read("-Infinity"), _read("1_000"), _read("nan")
    (1000.0, 16, -inf, None, None)
    """
    if not text:
        return 0
    if _OF_A_BASE.fullmatch(text):
        return min(int(text, 0), MOST)
    return float(text) if _DECIMAL.fullmatch(text) else None


def _whole(value: float, step: float, low: float) -> int:
    """Rounded to a step from the lowest."""
    if step == 1:
        return math.floor(value + 0.5)
    offset = math.fmod(low, step)
    steps = (value - offset) / step + 0.5
    if math.isinf(steps):  # they are too many to be counted
        return math.floor(value)
    return int(math.floor(steps) * step + offset)


def _rounded(value: float, widget: Widget) -> float:
    step = max(_number(widget, "step", STEP), 0) or STEP
    decimals = max(0, -math.floor(math.log10(step)))
    unit = _number(widget, "round", 10.0**-decimals)
    if unit <= 0:
        return value
    units, rounded = value / unit + 0.5, value
    if not math.isinf(units):  # otherwise they are too many to be counted
        digits = max(0, -math.floor(math.log10(unit)))
        rounded = round(math.floor(units) * unit, min(max(decimals, digits), 100))
    return min(max(rounded, _number(widget, "min", 0)), _number(widget, "max", 2048))


def _number(widget: Widget, name: str, other: float) -> float:
    value = widget.options.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MOST:
        return other
    return value
