"""A model fetched from a URL is a file of the account: in the editor's drop-downs, in forms, and in runs."""

from pathlib import Path

from tests.fakes.http import Origin
from tests.stack.graphs import text_to_image
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter, editor_of, until


def test_a_model_by_url(real: Stack, enter: Enter, account: str, site: Origin, tiny_models_dir: Path) -> None:
    client, page = real.client(account), enter(real, account)
    for name in ("sd15", "lora"):
        data = (tiny_models_dir / "one" / f"tiny-{name}.safetensors").read_bytes()
        site.put(f"/mine-{name}.safetensors", data)
    graph = text_to_image(lora="mine-lora.safetensors")
    graph["checkpoint"]["inputs"]["ckpt_name"] = "mine-sd15.safetensors"
    workflow = client.http.post("/api/v1/workflows", json={"name": "Mine", "prompt": graph}).json()["id"]

    page.goto("/files")
    for name, folder in (("sd15", "checkpoints"), ("lora", "loras")):
        page.get_by_label("URL", exact=True).fill(f"{site.url}/mine-{name}.safetensors")
        page.get_by_label("Folder in /models").fill(folder)
        page.get_by_role("button", name="Import").click()
        page.locator("#files tr", has_text=f"/models/{folder}/mine-{name}.safetensors").wait_for()

    page.goto(f"/workflows/{workflow}/edit")
    editor = editor_of(page)
    choices = """name => window.app.graph.nodes.flatMap(node => node.widgets ?? [])
        .filter(widget => widget.name === name).flatMap(widget => widget.options.values)"""
    assert "mine-sd15.safetensors" in editor.evaluate(choices, "ckpt_name")
    editor.evaluate("() => window.app.queuePrompt(0, 1)")
    until(editor, "Object.values(window.app.nodeOutputs).some(output => output.images?.length)")

    page.goto("/files")
    row = page.locator("#files tr", has_text="mine-sd15.safetensors")
    assert "1 run" in row.inner_text()
    page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button").click()
    row.wait_for(state="detached")


def test_a_failed_import_says_why_and_can_be_retried(real: Stack, enter: Enter, account: str, site: Origin) -> None:
    page = enter(real, account)
    site.put("/login.safetensors", b"<!doctype html><p>Please log in")

    page.goto("/files")
    page.get_by_label("URL", exact=True).fill(f"{site.url}/login.safetensors")
    page.get_by_label("Folder in /models").fill("loras")
    page.get_by_role("button", name="Import").click()
    page.locator("#imports .failure", has_text="a web page instead of the file").wait_for()
    site.put("/login.safetensors", (8).to_bytes(8, "little") + b'{"a": 1}')
    page.get_by_role("button", name="Retry").click()

    page.locator("#files tr", has_text="/models/loras/login.safetensors").wait_for()

    page.get_by_label("URL", exact=True).fill("http://10.0.0.1/x.safetensors")
    page.get_by_role("button", name="Import").click()
    page.locator("#problems", has_text="Invalid URL.").wait_for()
