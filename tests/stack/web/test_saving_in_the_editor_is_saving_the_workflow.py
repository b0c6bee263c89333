"""A saved workflow is not marked as unsaved: no dot on the tab, no warning on leaving. The editor's own Save, by its
menu and by its keys, saves the workflow without asking for a name."""

from playwright.sync_api import Dialog, Page

from tests.stack.graphs import picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import SAVED, Enter, editor_of, until

IS_MARKED = "() => { const tab = window.app.extensionManager.workflow.activeWorkflow; return tab.isModified }"
CHANGE = "value => { window.app.graph.nodes[0].widgets[0].value = value; window.app.canvas.emitAfterChange() }"


def wait_saved(page: Page) -> None:
    page.locator("[data-saved]").filter(has_text=SAVED).wait_for()


def test_saving(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"name": "Mine", "prompt": picture()}).json()["id"]
    dialogs: list[str] = []

    def refuse(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", refuse)
    page.goto(f"/workflows/{made}/edit")
    editor = editor_of(page)
    wait_saved(page)

    # Each save takes the mark away, and the browser lets go.
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        editor.evaluate(CHANGE, 72)
    wait_saved(page)
    until(editor, f"!({IS_MARKED})()")
    editor.get_by_test_id("workflow-dirty-indicator").wait_for(state="hidden")
    editor.locator("canvas#graph-canvas").click(position={"x": 640, "y": 400})  # without a touch no browser warns
    page.goto("/workflows")
    assert dialogs == []

    # File > Save.
    page.goto(f"/workflows/{made}/edit")
    editor = editor_of(page)
    wait_saved(page)
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        editor.evaluate(CHANGE, 80)
        editor.evaluate("() => window.app.extensionManager.command.execute('Comfy.SaveWorkflow')")
    wait_saved(page)
    assert editor.get_by_role("dialog").count() == 0
    assert client.http.get(f"/api/v1/workflows/{made}").json()["prompt"]["1"]["inputs"]["width"] == 80

    # What somebody does to the looks of it is work too.
    editor.locator("canvas#graph-canvas").click(position={"x": 640, "y": 400})
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        editor.evaluate("() => { window.app.graph.nodes[0].setSize([500, 400]) }")
    nodes = page.request.get(f"/workflows/{made}/graph").json()["workflow"]["nodes"]
    assert [list(node["size"]) for node in nodes if node["type"] == "EmptyImage"] == [[500, 400]]

    # File > Save As makes another workflow of the one that is open, and goes on with that.
    editor.evaluate("() => { window.app.extensionManager.command.execute('Comfy.SaveWorkflowAs') }")
    assert page.get_by_role("dialog").get_by_role("textbox").input_value() == "Mine (copy)"
    page.get_by_role("dialog").get_by_role("textbox").fill("Mine, larger")
    page.get_by_role("dialog").get_by_role("textbox").press("Enter")
    page.get_by_role("heading", name="Mine, larger").wait_for()
    editor_of(page)
    named = {each["name"]: each["id"] for each in client.http.get("/api/v1/workflows").json()}
    assert page.url.endswith(f"/workflows/{named['Mine, larger']}/edit")
    copied = client.http.get(f"/api/v1/workflows/{named['Mine, larger']}").json()
    assert copied["prompt"]["1"]["inputs"]["width"] == 80
    assert dialogs == []
