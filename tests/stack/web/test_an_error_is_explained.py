"""A node that fails: the editor marks it, the run's page says what happened in which node, with the traceback."""

from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter, editor_of, follow, until

GRAPH = {"7": node("TestFails"), "9": node("SaveImage", images=["7", 0], filename_prefix="never")}


def test_an_error_on_its_node_and_on_the_runs_page(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    workflow = client.http.post("/api/v1/workflows", json={"name": "Broken", "prompt": GRAPH}).json()["id"]

    page.goto(f"/workflows/{workflow}/edit")
    editor = editor_of(page)
    editor.evaluate(
        "() => window.app.api.addEventListener('execution_error', event => { window.failed = event.detail })"
    )
    editor.evaluate("() => window.app.queuePrompt(0, 1)")
    until(editor, "window.failed !== undefined")
    assert editor.evaluate("window.failed.node_type") == "TestFails"
    assert editor.evaluate("window.app.lastExecutionError.node_id") == "7"
    until(editor, "document.body.innerText.includes('TestFails failed')")

    page.goto(f"/workflows/{workflow}")
    follow(page.locator(".rows .row", has_text="this node always fails"))
    problem = page.get_by_label("Error")
    assert "TestFails failed: this node always fails" in problem.inner_text()
    problem.get_by_text("Details", exact=True).click()
    assert "Node 7" in problem.inner_text()
    assert "raise ValueError" in problem.locator("pre").inner_text()
    page.get_by_text("ComfyUI log").click()
    page.locator("#log pre", has_text="this node always fails").wait_for()
