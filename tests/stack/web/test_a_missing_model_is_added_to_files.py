"""A graph that says where its missing model is got: the editor's own button fetches it into the account's files, not
onto the computer of whoever looks; and the model can be chosen as soon as it is there."""

from typing import Any

from playwright.sync_api import Browser

from tests.fakes.http import Origin
from tests.fakes.model_sites import Hub
from tests.stack.stack import Stack
from tests.stack.web.conftest import LIMIT_MS, Enter, editor_of, until

# The editor offers to fetch models of a few hosts only, which no test may ask: the import is checked where it is asked
# for, and is carried out for a host that a test may ask.
HOST = "https://huggingface.co/somebody/model/resolve/main/"


def graph(url: str, name: str) -> dict[str, Any]:
    """The editor's form of a graph with a checkpoint that is not here, and where to get it."""
    model = {"name": name, "url": url, "directory": "checkpoints"}
    loader = {"id": 1, "type": "CheckpointLoaderSimple", "pos": [60, 60], "size": [315, 98], "flags": {}, "order": 0}
    loader |= {"mode": 0, "inputs": [], "outputs": [], "properties": {"models": [model]}, "widgets_values": [name]}
    return {"nodes": [loader], "links": [], "groups": [], "config": {}, "extra": {}, "version": 0.4} | {
        "last_node_id": 1,
        "last_link_id": 0,
    }


def test_the_button_of_the_panel(real: Stack, enter: Enter, account: str, hub: Hub) -> None:
    client, page = real.client(account), enter(real, account)
    body = {"name": "Missing", "workflow": graph(f"{HOST}far.safetensors", "far.safetensors")}
    made = client.http.post("/api/v1/workflows", json=body).json()["id"]
    downloads: list[str] = []
    page.on("download", lambda download: downloads.append(download.url))
    page.context.on("page", lambda opened: downloads.append(opened.url))
    asked: list[dict[str, Any]] = []
    page.route("**/comfyward/imports", lambda route: (asked.append(route.request.post_data_json), route.continue_()))

    page.goto(f"/workflows/{made}/edit")
    editor = editor_of(page)
    editor.get_by_role("button", name="View details").click()
    button = editor.get_by_test_id("missing-model-download")
    assert button.evaluate("button => getComputedStyle(button, '::after').content") == '"Add to Files"'
    button.click()
    editor.get_by_role("status").filter(has_text="far.safetensors").wait_for()

    assert asked[0] == {"url": f"{HOST}far.safetensors", "path": "/models/checkpoints/far.safetensors"}
    assert downloads == []
    [wanted] = client.http.get("/api/v1/imports").json()
    own = HOST.replace("https://huggingface.co", hub.url)  # where this server is told that Hugging Face is
    assert (wanted["path"], wanted["url"]) == ("/models/checkpoints/far.safetensors", f"{own}far.safetensors")
    client.http.delete(f"/api/v1/imports/{wanted['id']}")


def test_any_download_of_a_script_of_the_editor(real: Stack, enter: Enter, account: str, site: Origin) -> None:
    """As older editors do it: a link that a script clicks. The model arrives, and can be chosen without a reload."""
    client, page = real.client(account), enter(real, account)
    site.put("/near.safetensors", (8).to_bytes(8, "little") + b'{"a": 1}')
    body = {"name": "Missing", "workflow": graph(f"{site.url}/near.safetensors", "near.safetensors")}
    made = client.http.post("/api/v1/workflows", json=body).json()["id"]
    page.goto(f"/workflows/{made}/edit")
    editor = editor_of(page)

    editor.evaluate(
        """url => { const link = Object.assign(document.createElement('a'), { href: url });
        link.download = 'near.safetensors'; link.target = '_blank'; link.click() }""",
        f"{site.url}/near.safetensors",
    )

    editor.get_by_text("near.safetensors is in Files now.").wait_for()
    until(editor, "window.app.graph.nodes[0].widgets[0].options.values.includes('near.safetensors')")
    assert len(page.context.pages) == 1
    paths = [file["path"] for file in client.http.get("/api/v1/files").json()]
    assert "/models/checkpoints/near.safetensors" in paths


def test_the_button_of_comfyuis_own_editor(real: Stack, browser: Browser) -> None:
    """At the native port: the editor that ComfyUI's version asks for."""
    client, page = real.client(), browser.new_page()
    page.set_default_timeout(LIMIT_MS)
    page.goto(real.native_url)
    page.wait_for_function("window.app?.graph && window.app.canvas && window.app.vueAppReady !== false")
    page.get_by_role("button", name="Run", exact=True).first.wait_for()
    page.evaluate("graph => window.app.loadGraphData(graph)", graph(f"{HOST}older.safetensors", "older.safetensors"))

    page.get_by_role("button", name="View details").click()
    page.get_by_test_id("missing-model-download").click()
    page.get_by_role("status").filter(has_text="older.safetensors").wait_for()

    assert len(page.context.pages) == 1
    [wanted] = [each for each in client.http.get("/api/v1/imports").json() if "older" in each["path"]]
    assert wanted["path"] == "/models/checkpoints/older.safetensors"
    client.http.delete(f"/api/v1/imports/{wanted['id']}")
    page.close()
