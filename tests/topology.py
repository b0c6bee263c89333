"""What the servers of a scenario stand on, and which scenarios each of these can change.

Two servers can change a scenario, and then it is marked `several_servers`, where
- what happens at one must reach what the other holds in its memory: an open stream or page, a worker that waits, an
  answer that it gives from there;
- both may do the same work, and it is to be done once; or one takes over what the other left undone;
- the database itself can show, by what it refuses, sorts or compares.
Whatever is only written by one request and read by the next is the same at any server: tests/store has each of these
operations on both databases. Nor do more servers change what goes on inside a worker, or a page that shows rows. Of
several scenarios that rest on the same notice, one is enough.
"""

from __future__ import annotations

from enum import StrEnum

import pytest

SERVED = {"real", "shared", "start_fake", "start_fake_once"}  # fixtures that start servers as the topology says


class Topology(StrEnum):
    """Every scenario runs on the first; on the others, those whose marker says that it makes a difference."""

    ONE_SERVER = "one-server"  # with SQLite, files in a directory, and the ComfyUI that users get
    TWO_SERVERS = "two-servers"  # with PostgreSQL, S3 and a load balancer
    EARLIER_COMFYUI = "earlier-comfyui"  # the earliest that can be installed by version


PARAMETERS = [
    pytest.param(Topology.ONE_SERVER, id=pytest.HIDDEN_PARAM),
    pytest.param(Topology.TWO_SERVERS, id=Topology.TWO_SERVERS),
    pytest.param(Topology.EARLIER_COMFYUI, id=Topology.EARLIER_COMFYUI),
]


def topology_of(item: pytest.Item) -> Topology:
    """The topology that a collected test runs on; the first, where it needs none."""
    callspec = getattr(item, "callspec", None)
    return Topology(callspec.params.get("topology", Topology.ONE_SERVER)) if callspec else Topology.ONE_SERVER


def makes_a_difference(item: pytest.Item) -> bool:
    """Whether a test's topology can change what it shows."""
    match topology_of(item):
        case Topology.ONE_SERVER:
            return True
        case Topology.TWO_SERVERS:
            is_served = SERVED & set(getattr(item, "fixturenames", ()))
            return bool(is_served and _has(item, "several_servers"))
        case Topology.EARLIER_COMFYUI:
            return _has(item, "engine")


def _has(item: pytest.Item, marker: str) -> bool:
    return item.get_closest_marker(marker) is not None
