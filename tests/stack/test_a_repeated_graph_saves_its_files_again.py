"""An output node always executes again; what it depends on is taken from ComfyUI's cache."""

import threading

import pytest

from tests import loopback
from tests.fakes.http import Origin
from tests.stack.following import followed
from tests.stack.graphs import node
from tests.stack.stack import Client

pytestmark = pytest.mark.engine

GRAPH = {
    "slow": node("TestSteps", steps=20),  # one second, unless it is cached
    "save": node("SaveImage", images=["slow", 0], filename_prefix="twice"),
}


def test_a_repeated_graph_saves_its_files_again(client: Client, site: Origin) -> None:
    first = client.run(GRAPH)
    begins = threading.Event()
    files = {"/input/begins.txt": site.put("/begins.txt", b"now", hold=begins)}
    run_id = client.submit(GRAPH, files=files)
    events = list(followed(client, run_id, begins))
    second = client.get(run_id)

    assert first["run_time"] >= 1000
    assert [data["nodes"] for kind, data, _ in events if kind == "cached"] == [["slow"]]

    [one], [two] = first["output"], second["output"]
    assert one["filename"].endswith("/twice_00001_.png")
    assert two["filename"].endswith("/twice_00001_.png")
    assert one["url"] != two["url"]
    assert loopback.get(one["url"]).content == loopback.get(two["url"]).content
