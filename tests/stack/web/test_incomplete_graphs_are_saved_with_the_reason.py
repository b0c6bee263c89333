"""A graph that cannot run yet is somebody's work all the same: the editor's form is always saved, and what keeps it
from running is said in the editor's bar, on the workflow's page, and to whoever runs it."""

from typing import Any

from playwright.sync_api import Page

from tests.stack.graphs import picture
from tests.stack.stack import Client, Stack
from tests.stack.web.conftest import SAVED, Enter, editor_of, until


def with_an_unknown_node() -> dict[str, Any]:
    """The editor's form of a graph with a node whose pack is not here."""
    out = {"name": "image", "type": "IMAGE", "links": [1]}
    return {
        "id": "5f3c0c53-7b3e-4f0e-9a58-0a4d1d2b8f10",
        "last_node_id": 2,
        "last_link_id": 1,
        "nodes": [
            {"id": 2, "type": "FaceDetailerUltra", "pos": [60, 60], "size": [240, 120], "flags": {}, "order": 0}
            | {"mode": 0, "inputs": [], "outputs": [out], "properties": {}, "widgets_values": [7, "left"]},
            {"id": 3, "type": "SaveImage", "pos": [420, 60], "size": [240, 120], "flags": {}, "order": 1, "mode": 0}
            | {"inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "outputs": [], "properties": {}}
            | {"widgets_values": ["detailed"]},
        ],
        "links": [[1, 2, 0, 3, 0, "IMAGE"]],
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def opened(client: Client, page: Page, **body: Any) -> str:
    made: str = client.http.post("/api/v1/workflows", json={"name": "Portraits", **body}).json()["id"]
    page.goto(f"/workflows/{made}/edit")
    return made


def says(page: Page, text: str) -> None:
    page.locator("[data-saved]").filter(has_text=SAVED).wait_for()
    page.locator("[data-obstacle]").filter(has_text=text).wait_for()


def modes(page: Page, workflow: str) -> list[int]:
    """Of the nodes as the editor is given them when it is opened again."""
    return [node["mode"] for node in page.request.get(f"/workflows/{workflow}/graph").json()["workflow"]["nodes"]]


def test_a_node_that_is_not_installed(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = opened(client, page, workflow=with_an_unknown_node())
    editor = editor_of(page)
    says(page, "Cannot run yet: FaceDetailerUltra is not installed")

    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        editor.evaluate("() => { window.app.graph.getNodeById(3).widgets[0].value = 'better' }")
    says(page, "FaceDetailerUltra is not installed")  # else an open list is drawn anew after the page has heard of it
    page.locator("[data-obstacle]").click()
    page.get_by_role("button", name="Show node").click()
    until(editor, "Object.values(window.app.canvas.selected_nodes).map(node => node.type)[0] === 'FaceDetailerUltra'")
    page.reload()
    editor = editor_of(page)
    assert editor.evaluate("window.app.graph.getNodeById(3).widgets[0].value") == "better"
    assert editor.evaluate("window.app.graph.getNodeById(2).serialize().widgets_values") == [7, "left"]
    says(page, "FaceDetailerUltra is not installed")

    page.get_by_role("link", name="Back to Portraits").click()
    page.get_by_role("region", name="Missing here").get_by_text("FaceDetailerUltra is not installed.").wait_for()
    page.wait_for_load_state()  # else the press may come before the page's scripts, and gets a page of its own
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#problems").filter(has_text="FaceDetailerUltra is not installed").wait_for()
    refused = client.post_run({}, made)
    assert refused.status_code == 400
    assert "FaceDetailerUltra is not installed" in refused.json()["message"]


def test_a_graph_with_nothing_to_run(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = opened(client, page, prompt=picture())
    editor = editor_of(page)

    # All of it muted: there is a graph, and nothing in it runs. What ran before does not run in its place.
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        editor.evaluate("() => { for (const node of window.app.graph.nodes) node.mode = 2 }")
    says(page, "Cannot run yet: every node is muted or bypassed")
    assert modes(page, made) == [2, 2]
    assert client.http.get(f"/api/v1/workflows/{made}").json()["prompt"] is None
    assert client.post_run({}, made).status_code == 400

    # The editor itself fails on the graph.
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        editor.evaluate(
            """() => { window.app.graph.nodes[0].mode = 0;
            window.app.graphToPrompt = async () => { throw new Error('a widget broke') } }"""
        )
    says(page, "Cannot run yet")
    assert modes(page, made) == [0, 2]


def test_the_line_breaks_while_it_saves(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = opened(client, page, prompt=picture())
    editor, saved = editor_of(page), page.locator("[data-saved]")
    saved.filter(has_text=SAVED).wait_for()

    page.context.set_offline(True)
    editor.evaluate("() => { window.app.graph.nodes[0].widgets[0].value = 200 }")
    saved.filter(has_text="Not saved: the server is not responding. Retrying…").wait_for()
    page.context.set_offline(False)
    saved.filter(has_text=SAVED).wait_for()

    assert client.http.get(f"/api/v1/workflows/{made}").json()["prompt"]["1"]["inputs"]["width"] == 200


def test_leaving_right_after_an_edit_keeps_it(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = opened(client, page, prompt=picture())
    editor = editor_of(page)
    page.locator("[data-saved]").filter(has_text=SAVED).wait_for()

    editor.evaluate("() => { window.app.graph.nodes[0].widgets[0].value = 300 }")
    page.get_by_role("link", name="Back to Portraits").click()
    page.wait_for_url(f"**/workflows/{made}")

    assert client.http.get(f"/api/v1/workflows/{made}").json()["prompt"]["1"]["inputs"]["width"] == 300
