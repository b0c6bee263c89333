"""The editor saves by itself, and by Ctrl+S; what is in another of its tabs is never saved over the workflow."""

from tests.stack.graphs import node, picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import SAVED, Enter, editor_of, until


def test_saving(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"name": "Mine", "prompt": picture()}).json()["id"]
    page.goto(f"/workflows/{made}/edit")
    editor = editor_of(page)
    saved = page.locator("[data-saved]")
    saved.filter(has_text=SAVED).wait_for()

    editor.evaluate("() => window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    saved.filter(has_text="Other tab (not saved)").wait_for()
    assert client.http.get(f"/api/v1/workflows/{made}").json()["prompt"]["1"]["class_type"] == "EmptyImage"

    editor.get_by_text("Mine", exact=True).first.click()
    saved.filter(has_text=SAVED).wait_for()
    until(editor, "window.app.graph.nodes.length === 2")
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        editor.evaluate("() => { window.app.graph.nodes[0].widgets[0].value = 200 }")
        editor.locator("body").press("Control+s")
    assert client.http.get(f"/api/v1/workflows/{made}").json()["prompt"]["1"]["inputs"]["width"] == 200


def test_a_file_dropped_on_the_editor_becomes_the_workflow_when_asked(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"name": "Mine"}).json()["id"]
    page.goto(f"/workflows/{made}/edit")

    editor_of(page).evaluate("graph => window.app.loadApiJson(graph, 'dropped')", picture())
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        page.get_by_role("button", name="Save to this workflow").click()

    assert client.http.get(f"/api/v1/workflows/{made}").json()["prompt"]["1"]["class_type"] == "EmptyImage"


def test_viewing_changes_nothing(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    named = {"first": node("EmptyImage", width=8, height=8, batch_size=1, color=1)}
    named["last"] = node("SaveImage", images=["first", 0], filename_prefix="x")
    made = client.http.post("/api/v1/workflows", json={"name": "Mine", "prompt": named}).json()["id"]
    run = client.finish(client.post_run({"prompt": picture(0xABCDEF)}, made).json()["id"])["id"]

    page.goto(f"/workflows/{made}/edit")
    editor_of(page)
    page.locator("[data-saved]").filter(has_text=SAVED).wait_for()
    page.goto(f"/workflows/{made}/edit?run={run}")
    assert editor_of(page).evaluate("window.app.graph.nodes[0].widgets[3].value") == 0xABCDEF
    page.locator("[data-saved]").filter(has_text="Run's graph (not saved)").wait_for()
    assert client.http.get(f"/api/v1/workflows/{made}").json()["prompt"] == named

    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        page.get_by_role("button", name="Save to this workflow").click()
    assert client.http.get(f"/api/v1/workflows/{made}").json()["prompt"]["1"]["inputs"]["color"] == 0xABCDEF


def test_the_accelerator_of_the_bar_is_the_workflows(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"name": "Mine", "prompt": picture()}).json()["id"]
    page.goto(f"/workflows/{made}/edit")

    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        page.get_by_label("Accelerator").select_option("CPU")

    assert client.http.get(f"/api/v1/workflows/{made}").json()["accelerator"] == "CPU"
