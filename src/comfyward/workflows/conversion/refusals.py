"""The refusals of workflows that no worker could run: every node is named, by its path, title, class and pack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from comfyward.errors import InvalidGraph, UnknownClasses
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.class_inputs import MADE_IN_BROWSERS
from comfyward.workflows.noted import CORE_ID, Noted, noted_of
from comfyward.workflows.offer import CHECK_HINT, Offer

MAX_NAMED = 20  # in a message
MAX_TOLD = 1000  # in its details
OTHER_EDITORS = {
    "Anything Everywhere": "cg-use-everywhere",
    "Anything Everywhere3": "cg-use-everywhere",
    "Anything Everywhere?": "cg-use-everywhere",
    "Prompts Everywhere": "cg-use-everywhere",
    "Seed Everywhere": "cg-use-everywhere",
    "Reroute (rgthree)": "rgthree-comfy",
    "Fast Muter (rgthree)": "rgthree-comfy",
    "Fast Groups Muter (rgthree)": "rgthree-comfy",
    "Fast Bypasser (rgthree)": "rgthree-comfy",
    "Fast Groups Bypasser (rgthree)": "rgthree-comfy",
    "Mute / Bypass Repeater (rgthree)": "rgthree-comfy",
    "Mute / Bypass Relay (rgthree)": "rgthree-comfy",
    "Node Collector (rgthree)": "rgthree-comfy",
    "Label (rgthree)": "rgthree-comfy",
    "Bookmark (rgthree)": "rgthree-comfy",
    "Fast Actions Button (rgthree)": "rgthree-comfy",
    "Random Unmuter (rgthree)": "rgthree-comfy",
}
"""Classes that exist only as a script of a pack in the editor, with the pack."""


class RefusedNode(msgspec.Struct, frozen=True):
    """A node that cannot run, where it is, and why."""

    path: str
    class_type: str
    title: str
    noted: Noted
    reason: str = ""

    @property
    def where(self) -> str:
        named = f" '{self.title}'" if self.title and self.title != self.class_type else ""
        return f"node {self.path}{named} ({self.class_type})"

    def facts(self) -> dict[str, Any]:
        """The node as data, with what its file says of its pack."""
        pack = {"cnr_id": self.noted.cnr_id, "aux_id": self.noted.aux_id, "ver": self.noted.version}
        return {
            "node_id": self.path,
            "class_type": self.class_type,
            "title": self.title,
            **{key: value for key, value in pack.items() if value},
            **({"reason": self.reason} if self.reason else {}),
        }


def refused(path: str, class_type: str, title: object, properties: dict[str, Any], reason: str = "") -> RefusedNode:
    return RefusedNode(path, class_type, title if isinstance(title, str) else "", noted_of(properties), reason)


def refuse_unknown(nodes: Sequence[RefusedNode], catalog: Catalog) -> None:
    """Raises UnknownClasses for nodes whose classes the catalog lacks."""
    if not nodes:
        return
    offers = catalog.elsewhere.known(list(dict.fromkeys(each.class_type for each in nodes)))
    first = nodes[0]
    named = "; ".join(f"{each.where}{_pack(each, catalog)}" for each in nodes[:MAX_NAMED])
    more = f" and {len(nodes) - MAX_NAMED} more" if len(nodes) > MAX_NAMED else ""
    raise UnknownClasses(
        f"No worker has the classes of these nodes: {named}{more}.",
        hint=_hint(first, offers.get(first.class_type, ()), catalog),
        type="missing_node_type",
        node_id=first.path,
        class_type=first.class_type,
        title=first.title or None,
        nodes=[each.facts() for each in nodes[:MAX_TOLD]],
        classes=sorted({each.class_type for each in nodes}),
        packs={name: [offer.facts() for offer in found] for name, found in offers.items() if found},
    )


def refuse_browser_only(nodes: Sequence[RefusedNode]) -> None:
    """Raises InvalidGraph for nodes with a value that only a browser can make."""
    if not nodes:
        return
    named = "; ".join(f"{each.where}: {each.reason}" for each in nodes[:MAX_NAMED])
    raise InvalidGraph(
        f"Only a browser can make a value that this workflow needs: {named}.",
        hint="Run it in the editor, where the value is made when Run is pressed, or give these nodes a file instead.",
        type="made_in_browser",
        node_id=nodes[0].path,
        class_type=nodes[0].class_type,
        nodes=[each.facts() for each in nodes[:MAX_TOLD]],
    )


def made_in_browser(kind: str) -> str | None:
    return MADE_IN_BROWSERS.get(kind)


def _pack(each: RefusedNode, catalog: Catalog) -> str:
    noted = each.noted
    if noted.cnr_id == CORE_ID:
        has = f", and the workers have {catalog.comfyui_version}" if catalog.comfyui_version else ""
        return f", which needs ComfyUI {noted.version or 'of a newer version'}{has}"
    pack = noted.cnr_id or noted.aux_id or OTHER_EDITORS.get(each.class_type)
    version = f" {noted.version}" if pack and noted.version and noted.version != "unknown" else ""
    return f", of the pack {pack}{version}" if pack else ""


def _hint(first: RefusedNode, offers: Sequence[Offer], catalog: Catalog) -> str:
    if first.class_type in OTHER_EDITORS:
        return (
            f"{first.class_type} is a script of {OTHER_EDITORS[first.class_type]} in the editor: "
            "export the workflow there with File > Export (API), and send that file."
        )
    if first.noted.cnr_id == CORE_ID:
        needed = first.noted.version or "a newer version"
        return f"It is one of ComfyUI's own: ask the operator for ComfyUI {needed}. {CHECK_HINT}"
    if offers and (command := offers[0].command):
        return f"{CHECK_HINT} An admin can add the pack to an environment: {command}"
    if first.noted.cnr_id or first.noted.aux_id:
        pack = first.noted.cnr_id or first.noted.aux_id
        return f"Ask the operator to add the pack {pack} to an environment. {CHECK_HINT}"
    return f"Use a class that GET /api/v1/nodes lists, or ask the operator for the custom node. {CHECK_HINT}"
