"""An output node always executes again; what it depends on is taken from ComfyUI's cache."""

import pytest

from tests import loopback
from tests.stack.graphs import node
from tests.stack.stack import Client

pytestmark = pytest.mark.engine

GRAPH = {
    "slow": node("TestSteps", steps=20),  # one second, unless it is cached
    "save": node("SaveImage", images=["slow", 0], filename_prefix="twice"),
}


def test_a_repeated_graph_saves_its_files_again(client: Client) -> None:
    first, second = client.run(GRAPH), client.run(GRAPH)

    assert first["run_time"] >= 1000
    assert second["run_time"] < 500

    [one], [two] = first["output"], second["output"]
    assert one["filename"].endswith("/twice_00001_.png")
    assert two["filename"].endswith("/twice_00001_.png")
    assert one["url"] != two["url"]
    assert loopback.get(one["url"]).content == loopback.get(two["url"]).content
