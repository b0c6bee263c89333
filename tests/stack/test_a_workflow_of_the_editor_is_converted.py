"""A workflow as ComfyUI's editor saves it becomes a graph that runs; one that cannot run is refused with the place."""

from __future__ import annotations

from typing import Any

from tests.stack.stack import Client, Stack

WORDS = 'a "NaN" bread, NaN, -Infinity: [NaN]'


def converted(client: Client, workflow: Any, **more: Any) -> Any:
    return client.http.post("/api/v1/workflows/convert", json={"workflow": workflow, **more})


def inside(kind: str, **more: Any) -> dict[str, Any]:
    """A workflow whose subgraph has a node of a class."""
    node = {"id": 3, "type": kind, "title": "My node", "widgets_values": [WORDS, "prefix"], **more}
    subgraph = {"id": "5b7a", "name": "Inner", "nodes": [node], "links": [], "inputs": [], "outputs": []}
    return {"nodes": [{"id": 12, "type": "5b7a"}], "links": [], "definitions": {"subgraphs": [subgraph]}}


def test_what_is_converted_runs_and_its_text_is_untouched(shared: Stack) -> None:
    client = shared.client("converts")
    answer = converted(client, inside("FakeSave"))

    assert answer.status_code == 200, answer.text
    prompt = answer.json()["prompt"]
    assert prompt == {
        "12:3": {"class_type": "FakeSave", "inputs": {"text": WORDS}, "_meta": {"title": "My node"}},
    }
    run = client.run(prompt)
    assert client.http.get(run["outputs"][0]["url"]).text == WORDS


def test_nothing_is_made(shared: Stack) -> None:
    client = shared.client("makes-nothing")

    assert converted(client, inside("FakeSave")).status_code == 200

    assert client.http.get("/api/v1/runs").json() == []


def test_an_unknown_class_names_its_place_and_pack(shared: Stack) -> None:
    properties = {"cnr_id": "my-pack", "ver": "1.2.0"}

    answer = converted(shared.client("asks"), inside("NobodyHas", properties=properties))

    error = answer.json()
    assert answer.status_code == 400
    assert error["error"].startswith(
        "No worker has the classes of these nodes: node 12:3 'My node' (NobodyHas), of the pack my-pack 1.2.0."
    )
    [node] = error["details"]["nodes"]
    assert node == {
        "node_id": "12:3",
        "class_type": "NobodyHas",
        "title": "My node",
        "cnr_id": "my-pack",
        "ver": "1.2.0",
    }


def test_a_damaged_file_is_refused_with_its_place(shared: Stack) -> None:
    answer = converted(shared.client("breaks"), inside("FakeSave", inputs=[{"name": 7}]))

    assert answer.status_code == 400
    assert answer.json()["details"]["place"] == "definitions.subgraphs[0].nodes[0].inputs[0].name"


def test_a_graph_of_the_api_is_none_of_the_editor(shared: Stack) -> None:
    answer = converted(shared.client("mistakes"), {"1": {"class_type": "FakeSave", "inputs": {"text": "x"}}})

    assert answer.status_code == 400
    assert "not a workflow in the editor's format" in answer.json()["error"]


def test_an_unknown_environment_is_refused(shared: Stack) -> None:
    answer = converted(shared.client("elsewhere"), inside("FakeSave"), environment="nowhere")

    assert answer.status_code == 400
    assert "nowhere" in answer.json()["error"]
