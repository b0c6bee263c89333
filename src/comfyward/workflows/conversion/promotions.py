"""Widgets of a subgraph that its boxes show as their own, each box with values of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from comfyward.workflows.class_inputs import Widget
from comfyward.workflows.conversion.form import INNER_INPUTS, SavedLink, text_of
from comfyward.workflows.conversion.nodes import Kind, Node
from comfyward.workflows.conversion.scopes import Scope
from comfyward.workflows.conversion.values import as_held


class Promotion(msgspec.Struct, frozen=True):
    """The widget that an input of a definition stands for: of a node in it, or an input of a box in it."""

    node: Node
    input_name: str
    widget: Widget


Promotions = Mapping[str, Sequence[Promotion | None]]
"""By definition, in the order of its inputs; None for an input that is only a socket."""


def promotions_of(scope: Scope, inner: Promotions) -> list[Promotion | None]:
    """The widgets that the inputs of a definition stand for: each the first that it feeds."""
    by_slot: dict[int, list[SavedLink]] = {}
    for link in scope.links:
        if text_of(link.origin_id) == INNER_INPUTS:
            by_slot.setdefault(link.origin_slot, []).append(link)
    sockets = {id(node.links[at]): (node, at) for node, at in scope.fed.get(INNER_INPUTS, ())}
    found: list[Promotion | None] = []
    for number, slot in enumerate(scope.inputs):
        order = {text_of(each): place for place, each in enumerate(slot.linkIds or ())}
        first = min(by_slot.get(number, ()), key=lambda link: order.get(text_of(link.id), len(order)), default=None)
        found.append(_promotion(*sockets[id(first)], inner) if id(first) in sockets else None)
    return found


def _promotion(node: Node, number: int, inner: Promotions) -> Promotion | None:
    name = node.names[number]
    if node.kind is Kind.BOX:
        promoted = inner[node.type][number]
        widget = None if promoted is None else promoted.widget
    else:
        widget = node.widget(name)
    return None if widget is None else Promotion(node, name, widget)


def fill_boxes(scope: Scope, promotions: Promotions) -> None:
    """Gives the boxes of a scope the values of their promoted inputs: those inside, then their own by position."""
    for node in scope.nodes.values():
        if node.kind is Kind.BOX:
            _fill(node, promotions[node.type])


def _fill(box: Node, promotions: Sequence[Promotion | None]) -> None:
    saved = box.saved.widgets_values
    own: list[Any] = saved if isinstance(saved, list) else []
    shown = [(name, each) for name, each in zip(box.names, promotions, strict=True) if each is not None]
    box.widgets = [msgspec.structs.replace(each.widget, name=name) for name, each in shown]
    for number, (name, promotion) in enumerate(shown):
        if number < len(own):
            box.values[name] = as_held(promotion.widget, own[number])
        elif promotion.input_name in promotion.node.values:
            box.values[name] = promotion.node.values[promotion.input_name]
