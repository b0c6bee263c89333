"""The inputs of one node as they are sent: the values of its widgets, and links to the nodes that feed it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from comfyward.errors import InvalidGraph
from comfyward.workflows.class_inputs import MADE_IN_BROWSERS, Widget
from comfyward.workflows.conversion.boxes import Opened
from comfyward.workflows.conversion.feeding import Fed, Feeds, Given, is_from_outside
from comfyward.workflows.conversion.nodes import Node
from comfyward.workflows.conversion.refusals import RefusedNode, refused
from comfyward.workflows.conversion.scopes import Scope
from comfyward.workflows.conversion.texts import Choose, replaced, without_choices

SAVING = frozenset(
    (
        *("SaveImage", "SaveImageAdvanced", "SaveSVGNode", "SaveVideo", "SaveAnimatedWEBP", "SaveAnimatedPNG"),
        *("SaveWEBM", "SaveAudio", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced", "SaveGLB", "Save3DAdvanced"),
        *("SaveGaussianSplat", "SavePointCloud", "CLIPSave", "VAESave", "ModelSave", "LoraSave", "SaveLatent"),
    )
)
"""ComfyUI's own classes in whose `filename_prefix` the editor fills in words between percent signs."""

MAX_CHOICES = 1000  # in one text
SEARCHED_NAME = "Node name for S&R"


class Words:
    """Fills in the words of texts: dates, values of other nodes, and choices at random."""

    def __init__(self, scopes: Sequence[Scope], now: datetime, choose: Choose) -> None:
        self._scopes, self._now, self._choose = scopes, now, choose

    def replaced(self, text: str) -> str:
        return replaced(text, self._now, self._value_of)

    def chosen(self, text: str) -> str:
        return without_choices(text, self._choose)

    def _value_of(self, name: str, widget: str) -> Any:
        """The value of a node's widget, by the name for such searches or else the title. Raises KeyError."""
        return self._named[name].values[widget]

    @cached_property
    def _named(self) -> dict[str, Node]:
        """The first node of each name: those of the root first, and names for searches before titles."""
        nodes = [node for scope in reversed(self._scopes) for node in scope.nodes.values()]
        found: dict[str, Node] = {}
        for node in nodes:
            name = node.properties.get(SEARCHED_NAME, node.type)
            if isinstance(name, str):
                found.setdefault(name, node)
        for node in nodes:
            found.setdefault(title_of(node), node)
        return found


class Sender:
    """Makes what is sent of each node, and collects the nodes that only a browser can run."""

    def __init__(self, words: Words) -> None:
        self._words, self._feeds = words, Feeds()
        self.refused: list[RefusedNode] = []

    def inputs(self, opened: Opened, node: Node) -> dict[str, Any]:
        """Raises InvalidGraph for links that lead nowhere, and for a text with too many choices."""
        sent = dict(self._values(opened, node)) | dict(self._links(opened, node))
        for widget in node.widgets:
            if widget.kind in MADE_IN_BROWSERS and not isinstance(sent.get(widget.name), list):
                self._refuse(opened, node, widget)
        return sent

    def _values(self, opened: Opened, node: Node) -> Iterator[tuple[str, Any]]:
        given = opened.given
        for widget in node.widgets:
            if not widget.is_sent or widget.name not in node.values:
                continue
            value = node.values[widget.name]
            if given:
                value = given.get((node.id, widget.name), value)
            if isinstance(value, str) and widget.has_choices and value.count("{") > MAX_CHOICES:
                raise _too_many_choices(opened.path(node), node, widget.name)
            yield widget.name, self._sent(node, widget, value)

    def _links(self, opened: Opened, node: Node) -> Iterator[tuple[str, Any]]:
        given = opened.given
        for number, link in enumerate(node.links):
            name = node.names[number]
            if link is None or (given and (node.id, name) in given and is_from_outside(link)):
                continue
            match self._feeds.of(opened, node, number):
                case Fed(node_id, slot):
                    yield name, [node_id, slot]
                case Given(value):
                    yield name, {"__value__": value} if isinstance(value, list) else value

    def _sent(self, node: Node, widget: Widget, value: Any) -> Any:
        if isinstance(value, str):
            if widget.has_choices:
                return self._words.chosen(value)
            if widget.name == "filename_prefix" and node.type in SAVING:
                return self._words.replaced(value)
            return value
        if widget.kind == "CURVE" and value is not None:
            return {"__type__": "CURVE", "__value__": value}
        return {"__value__": value} if isinstance(value, list) else value

    def _refuse(self, opened: Opened, node: Node, widget: Widget) -> None:
        reason = MADE_IN_BROWSERS[widget.kind]
        self.refused.append(refused(opened.path(node), node.type, node.saved.title, node.properties, reason))


def _too_many_choices(path: str, node: Node, name: str) -> InvalidGraph:
    message = f"The text of node {path} ({node.type}), input '{name}', has more than {MAX_CHOICES} choices in braces."
    return InvalidGraph(message, node_id=path, class_type=node.type, input=name)


def title_of(node: Node) -> str:
    title = node.saved.title
    return title if isinstance(title, str) else node.type
