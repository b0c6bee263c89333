"""The editor's primitives: values that are written into the widgets that they feed, as if they were typed there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from comfyward.workflows.class_inputs import Widget
from comfyward.workflows.conversion.boxes import fed_by
from comfyward.workflows.conversion.scopes import Scope

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
        for target, name in fed_by(scope, node):
            widget = target.widget(name)
            target.values[name] = typed(widget, value) if widget is not None else value


def typed(widget: Widget, value: Any) -> Any:
    """The value as a widget rounds it."""
    if widget.kind not in ("INT", "FLOAT"):
        return value
    number = _as_number(value)
    if number is None:
        return None
    if widget.kind == "FLOAT":
        return _rounded(number, widget)
    number = min(max(number, _number(widget, "min", -math.inf)), _number(widget, "max", math.inf))
    return _whole(number, _number(widget, "step", 1) or 1, _number(widget, "min", 0))


def _as_number(value: Any) -> float | None:
    """The number that JavaScript reads in a value; None for no number."""
    match value:
        case None:
            return 0
        case bool():
            return int(value)
        case int() | float() if math.isfinite(value):
            return value
        case str():
            try:
                return float(value) if value.strip() else 0
            except ValueError:
                return None
        case _:
            return None


def _whole(value: float, step: float, low: float) -> int:
    """Rounded to a step from the lowest."""
    if step == 1:
        return math.floor(value + 0.5)
    offset = math.fmod(low, step)
    return int(math.floor((value - offset) / step + 0.5) * step + offset)


def _rounded(value: float, widget: Widget) -> float:
    step = _number(widget, "step", STEP) or STEP
    decimals = max(0, -math.floor(math.log10(step)))
    unit = _number(widget, "round", 10.0**-decimals)
    if unit <= 0:
        return value
    digits = max(0, -math.floor(math.log10(unit)))
    rounded = round(math.floor(value / unit + 0.5) * unit, min(max(decimals, digits), 100))
    return min(max(rounded, _number(widget, "min", 0)), _number(widget, "max", 2048))


def _number(widget: Widget, name: str, other: float) -> float:
    value = widget.options.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return other
    return value
