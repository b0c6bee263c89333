"""Groups of tests for a run in several processes: what shares something expensive, and what goes first."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.topology import Topology, topology_of

LONGEST_FIRST = ("web", "real", "ray", Topology.TWO_SERVERS, Topology.EARLIER_COMFYUI)
SHORT = ("unit", "store", "contract", "deploy")  # folders whose files fill what is left at the end


def arrange(items: list[pytest.Item], groups: Path) -> None:
    """Puts the groups that take longest first, then scenarios, and writes down the group of each test."""
    items.sort(key=_rank)
    mine = groups.with_name(f"{groups.name}-{os.getpid()}")
    mine.write_text(json.dumps({item.nodeid: _group(item) for item in items}))
    mine.replace(groups)


def _group(item: pytest.Item) -> str:
    """One of those that share what takes long to start, or the test's file."""
    if marker := item.get_closest_marker("xdist_group"):
        return str(marker.args[0])
    if (topology := topology_of(item)) is not Topology.ONE_SERVER:
        return topology
    if "real" in getattr(item, "fixturenames", ()):
        return "web" if item.path.parent.name == "web" else "real"
    return str(item.path)


def _rank(item: pytest.Item) -> int:
    group = _group(item)
    if group in LONGEST_FIRST:
        return LONGEST_FIRST.index(group)
    return len(LONGEST_FIRST) + (item.path.parent.name in SHORT)
