"""PreviewImage writes to temp/, which is not an output."""

import pytest

from tests.stack.graphs import node, picture
from tests.stack.stack import Client

pytestmark = pytest.mark.engine


def test_previews_are_not_outputs(client: Client) -> None:
    graph = {**picture(prefix="kept"), "preview": node("PreviewImage", images=["1", 0])}

    run = client.run(graph)

    assert [output["filename"].rpartition("/")[2] for output in run["output"]] == ["kept_00001_.png"]


def test_a_run_with_nothing_but_previews_completes_without_outputs(client: Client) -> None:
    graph = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=1),
        "2": node("PreviewImage", images=["1", 0]),
    }

    run = client.run(graph)

    assert (run["status"], run["output"]) == ("COMPLETED", [])
