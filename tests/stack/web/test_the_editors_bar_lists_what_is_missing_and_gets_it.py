"""A workflow whose model nobody has is open in the editor: its bar says so, lists it with where it comes from, and
fetches it at the press of a button; then the editor is loaded anew, and the workflow runs."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.fakes.model_sites import Hub
from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.web.accessibility import axe_in, serious
from tests.stack.web.conftest import SAVED, Enter, editor_of

BAR = 'axe.run(document.querySelector("header"), { resultTypes: ["violations"], iframes: false })'


def test_a_model_is_got_in_the_editor(
    real: Stack, enter: Enter, account: str, hub: Hub, tiny_models_dir: Path, node_clients: Path, tmp_path: Path
) -> None:
    name = f"bar-{account}.safetensors"
    url = hub.put("someone/bar", name, (tiny_models_dir / "one" / "tiny-sd15.safetensors").read_bytes())
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name=name),
        "2": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "3": node("VAEDecode", samples=["2", 0], vae=["1", 2]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="barred"),
    }
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"name": "Barred", "prompt": graph}).json()["id"]
    page.goto(f"/workflows/{made}/edit")
    editor = editor_of(page)
    page.locator("[data-saved]").filter(has_text=SAVED).wait_for()
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        editor.evaluate(
            """models => { const loader = window.app.graph.nodes.find(node => node.type === "CheckpointLoaderSimple");
            loader.properties.models = models; loader.title = "The model" }""",
            [{"name": name, "url": url, "directory": "checkpoints"}],
        )
    page.locator("[data-saved]").filter(has_text=SAVED).wait_for()  # else an open list is drawn anew after that

    bar = page.locator("[data-obstacle]")
    expect(bar).to_have_text(f"Cannot run yet: {name} was not found")
    bar.click()
    missing = page.get_by_role("region", name="Missing here")
    expect(missing).to_contain_text(f"/models/checkpoints/{name} was not found.")
    expect(missing).to_contain_text(url)
    page.screenshot(path=tmp_path / "bar.png")
    page.evaluate(axe_in(node_clients))
    assert serious(page.evaluate(BAR)) == []

    missing.get_by_role("button", name="Get what is missing").click()
    expect(page.get_by_text("What was missing is here.")).to_be_visible()
    expect(bar).to_be_empty()
    page.get_by_role("link", name="Reload the editor").click()
    page.wait_for_url(f"**/workflows/{made}/edit")
    editor_of(page)
    expect(page.locator("[data-lacks]")).to_be_hidden()
    assert client.finish(client.post_run({}, made).json()["id"])["status"] == "COMPLETED"
