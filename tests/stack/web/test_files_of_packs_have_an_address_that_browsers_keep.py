"""Files of packs have one address as long as a session lasts, which opens nothing for anybody else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from tests import loopback
from tests.attacks.environment_lab import Lab
from tests.attacks.test_a_ticket_opens_one_workflow_alone import framed
from tests.stack.stack import Stack
from tests.stack.test_an_editor_gets_the_scripts_that_an_admin_allows import FILES


@pytest.fixture
def editor(real: Stack) -> Iterator[httpx2.Client]:
    host = urlsplit(real.editor_url).netloc
    with loopback.Client(base_url=real.url, headers={"Host": host}) as client:
        yield client


def map_of(editor: httpx2.Client, path: str) -> dict[str, str]:
    """The map of imports in the page of a frame; empty without one."""
    page = editor.get(f"{path}/", headers={"Sec-Fetch-Dest": "iframe"})
    found = re.search(r'<script type="importmap">(.*?)</script>', page.text)
    if found is None:
        return {}
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["content-security-policy"]
    return dict(json.loads(found[1])["imports"])


def test_a_pack_s_files_have_one_address_in_a_session_and_none_for_strangers(
    real: Stack, editor: httpx2.Client
) -> None:
    lab = Lab(real)
    digest = lab.promoted({"kj": True, "rg": False}, FILES)
    workflow, browser, other = lab.workflow(lab.name), real.visitor(), real.visitor()
    place = map_of(editor, framed(browser, workflow))["./extensions/"]
    assert place.startswith("/packs/")

    assert map_of(editor, framed(browser, workflow))["./extensions/"] == place
    assert map_of(editor, framed(browser, lab.workflow(lab.name)))["./extensions/"] == place
    assert map_of(editor, framed(other, workflow))["./extensions/"] != place
    assert map_of(editor, framed(browser, lab.workflow("default"))) == {}
    script = editor.get(f"{place}kj/a.js")
    assert (script.text, script.headers["cache-control"]) == (FILES["kj/a.js"], "private, max-age=31536000, immutable")
    assert editor.get(f"{place}../kj/config.js").text == FILES["kj /kj/config.js"]
    assert editor.get(f"{place}rg/a.js").status_code == 404
    assert editor.get(f"{place}kj/nothing.js").status_code == 404
    forged = place.replace("/packs/", "/packs/x", 1)
    assert editor.get(f"{forged}kj/a.js").status_code == 403
    assert editor.get(f"{place}kj/a.js", headers={"Origin": "https://evil.example"}).status_code == 403
    assert loopback.get(f"{real.url}{place}kj/a.js").status_code == 404
    led = editor.get("/extensions/kj/a.js", headers={"Referer": f"{real.editor_url}{place}kj/a.js"})
    assert (led.status_code, led.headers["location"]) == (307, f"{place}kj/a.js")

    assert lab.revision("1", packs={"kj": False, "rg": False}) == digest
    assert lab.post("promote").status_code == 200
    assert editor.get(f"{place}kj/a.js").status_code == 404
    assert lab.post("rollback").status_code == 200
    assert editor.get(f"{place}kj/a.js").status_code == 200
    assert browser.post("/logout").status_code == 303
    assert editor.get(f"{place}kj/a.js").status_code == 401
