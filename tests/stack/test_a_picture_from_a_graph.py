"""The shortest way: POST a graph, get a picture."""

import pytest

from tests import loopback
from tests.stack.graphs import picture
from tests.stack.stack import Client

pytestmark = pytest.mark.engine

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_picture_from_a_graph(client: Client) -> None:
    run = client.run(picture(prefix="ComfyICU"))

    assert run["status"] == "COMPLETED"
    assert run["run_time"] > 0
    assert run["retry_count"] == 0
    assert run["accelerator"] == "CPU"
    assert run["metadata"]["nodes"] == ["EmptyImage", "SaveImage"]
    assert run["created_at"] <= run["started_at"] <= run["completed_at"]

    [output] = run["output"]
    assert output["filename"] == f"/workflows/{run['workflow_id']}/output/{run['id']}/ComfyICU_00001_.png"
    assert output["node_id"] == "2"
    assert loopback.get(output["url"]).content.startswith(PNG)  # the link works without a key
    assert loopback.get(output["thumbnail_url"]).headers["content-type"] == "image/webp"
