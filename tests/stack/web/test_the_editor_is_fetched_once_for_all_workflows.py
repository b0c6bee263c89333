"""ComfyUI's editor comes compressed, and from one address for all workflows: the second one costs next to nothing."""

import re

import pytest
from playwright.sync_api import Browser

from bench.editor import entered, open_editor
from tests.stack.graphs import picture
from tests.stack.stack import Stack

COLD_BYTES, NEXT_BYTES = 6_000_000, 100_000


def test_two_workflows_one_after_the_other(real: Stack, browser: Browser, account: str) -> None:
    client = real.client(account)
    made = [
        client.http.post("/api/v1/workflows", json={"name": name, "prompt": picture()}).json()["id"]
        for name in ("first", "second")
    ]
    context = browser.new_context(base_url=real.url)
    page = entered(context, real, account)

    first = open_editor(page, f"/workflows/{made[0]}/edit?frame=here")
    second = open_editor(page, f"/workflows/{made[1]}/edit?frame=here")
    context.close()

    assert first.bytes <= COLD_BYTES
    assert second.bytes <= NEXT_BYTES
    assert second.requests < 40


@pytest.mark.parametrize("editor", ["workflow", "native port"])
def test_its_files_are_kept_for_good_and_its_page_is_not(real: Stack, editor: str) -> None:
    client = real.client()
    root = f"{real.url}/workflows/default/comfy" if editor == "workflow" else real.native_url
    page = client.http.get(f"{root}/")
    shared = re.findall(r'(?:href|src)="(/editor/[0-9a-f]+/[^"]+)"', page.text)
    assert page.headers["cache-control"] == "no-cache"
    assert any(address.endswith(".js") for address in shared)

    origin = real.url if editor == "workflow" else real.native_url
    for address in shared:
        for accepted, encoding in (("gzip, br", "br"), ("gzip", "gzip"), ("identity", None)):
            found = client.http.get(f"{origin}{address}", headers={"Accept-Encoding": accepted})
            assert found.status_code == 200, address
            assert "immutable" in found.headers["cache-control"]
            if address.endswith((".js", ".css")) and len(found.content) > 2000:
                assert found.headers.get("content-encoding") == encoding, address
    # What the editor's own code asks for beside its page is led to the same place.
    name = shared[0].split("/", 3)[3]
    led = client.http.get(f"{root}/{name}", follow_redirects=False)
    assert (led.status_code, led.headers["location"]) == (308, shared[0])
