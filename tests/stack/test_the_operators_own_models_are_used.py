"""Model folders of the host come in read-only; graphs name what lies in them without bringing it."""

import pytest

from tests.stack.graphs import text_to_image
from tests.stack.stack import Client

pytestmark = pytest.mark.engine


def test_the_operators_own_models_are_used(client: Client) -> None:
    models = client.http.get("/api/v1/models").json()
    assert "house-tiny-sd15.safetensors" in models["checkpoints"]
    graph = text_to_image(lora="house-tiny-lora.safetensors")
    graph["checkpoint"]["inputs"]["ckpt_name"] = "house-tiny-sd15.safetensors"

    run = client.run(graph)

    assert run["status"] == "COMPLETED", run["error"]
    assert run["files"] == {}
