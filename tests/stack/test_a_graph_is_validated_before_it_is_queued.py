"""Once a worker has been seen, its catalog decides at POST; before, ComfyUI's answer becomes the run's error."""

from typing import Any

import pytest

from tests.stack.conftest import StartFake
from tests.stack.graphs import load_and_save, node, picture, text_to_image
from tests.stack.stack import Client


def changed(node_id: str, **inputs: Any) -> dict[str, Any]:
    """The picture graph with some inputs of a node changed; None removes one."""
    graph = picture()
    merged = {**graph[node_id]["inputs"], **inputs}
    graph[node_id]["inputs"] = {name: value for name, value in merged.items() if value is not None}
    return graph


@pytest.mark.engine
@pytest.mark.parametrize(
    ("graph", "type_", "node_id", "named"),
    [
        ({"9": node("NoSuchNode")}, "missing_node_type", "9", "NoSuchNode"),
        (changed("1", width=None), "required_input_missing", "1", "width"),
        (changed("1", width="wide"), "invalid_input_type", "1", "width"),
        (changed("1", width=0), "value_smaller_than_min", "1", "width"),
        (changed("1", width=10**6), "value_bigger_than_max", "1", "width"),
        (changed("2", images=["7", 0]), "bad_linked_input", "2", "images"),
        (changed("2", images=["1", 5]), "bad_linked_input", "2", "images"),
        (changed("2", images=["1"]), "bad_linked_input", "2", "images"),
        ({**picture(), "2": node("SaveAudio", audio=["1", 0])}, "return_type_mismatch", "2", "audio"),
        (text_to_image(), "value_not_in_list", "checkpoint", "tiny-sd15.safetensors"),
        (load_and_save("nobody-has-this.png"), "value_not_in_list", "1", "nobody-has-this.png"),
    ],
)
def test_a_graph_that_cannot_run_is_refused(client: Client, graph: dict, type_: str, node_id: str, named: str) -> None:
    answer = client.post_run({"prompt": graph})

    body = answer.json()
    assert (answer.status_code, body["code"]) == (400, "invalid_graph"), answer.text
    first = body["node_errors"][body["details"]["node_id"]]["errors"][0]
    types = {error["type"] for entry in body["node_errors"].values() for error in entry["errors"]}
    assert type_ in types
    assert node_id in body["node_errors"]
    assert named in answer.text
    assert body["hint"]
    assert first["message"]


@pytest.mark.engine
def test_a_graph_without_an_output_is_refused(client: Client) -> None:
    answer = client.post_run({"prompt": {"1": picture()["1"]}})

    assert (answer.status_code, answer.json()["details"]["type"]) == (400, "prompt_no_outputs")


@pytest.mark.engine
def test_models_that_come_with_the_run_are_known(client: Client) -> None:
    """Accepted, since `files` brings them; that the URL is wrong is another matter."""
    files = {
        "/models/checkpoints/tiny-sd15.safetensors": "http://127.0.0.1:1/c",
        "/models/loras/tiny-lora.safetensors": "http://127.0.0.1:1/l",
    }

    run = client.run(text_to_image(), files=files)

    assert run["end_reason"] == "download"


def test_before_a_catalog_exists_the_workers_answer_becomes_the_runs_error(start_fake: StartFake) -> None:
    client = start_fake().client()  # no worker has said hello yet

    run = client.run({"1": node("NoSuchNode")})

    assert (run["status"], run["end_reason"]) == ("ERROR", "missing_node")
    assert "NoSuchNode" in run["error"]["message"]
    assert run["output"]["error"]["details"]["error"]["type"] == "invalid_prompt"
