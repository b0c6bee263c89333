"""Each page, light and dark, on a phone and on a desktop: no serious finding of axe-core, nothing wider than the
screen, no error in the console, no script or style but the site's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.environment_lab import Lab
from tests.stack.graphs import node, picture
from tests.stack.stack import Stack
from tests.stack.web.accessibility import LOOK, SCREENS, axe_in, findings, serious
from tests.stack.web.conftest import Enter
from tests.stack.web.environments import MASKS, TOOLING, locked, spec_of


@pytest.fixture(scope="module")
def paths(real: Stack) -> list[str]:
    """The addresses of all pages, with something on each."""
    client = real.client()
    more = {"name": "A workflow with a long-name-" * 4, "description": "What it does.", "tags": ["one", "two"]}
    made = client.http.post("/api/v1/workflows", json={**more, "prompt": picture(), "visibility": "PUBLIC"}).json()[
        "id"
    ]
    client.http.post("/api/v1/files", params={"path": "/models/loras/" + "long" * 30 + ".safetensors"}, content=b"x")
    broken = {"7": node("TestFails"), "9": node("SaveImage", images=["7", 0], filename_prefix="never")}
    hook = {"webhook": "http://127.0.0.1:9/hook"}
    done = client.finish(client.post_run({"prompt": picture(prefix="a" * 80), **hook}, made).json()["id"])["id"]
    failed = client.finish(client.post_run({"prompt": broken}, made).json()["id"])["id"]
    workflow, run = f"/workflows/{made}", f"/runs/{done}"
    lab = Lab(real, "an-environment-" + "with-a-long-name-" * 2)
    lab.revision("1", spec=spec_of(TOOLING, MASKS), locked=[locked(TOOLING), locked(MASKS)])
    environment = f"/environments/{lab.name}"
    return [
        *("/workflows", "/workflows/new", workflow, f"{workflow}/settings", f"{workflow}/form", f"{workflow}/api"),
        *("/explore", f"/explore/{made}", "/runs", run, f"/runs/{failed}", f"{run}/change", f"{run}/api", "/files"),
        *("/models", "/models/loras/" + "long" * 30 + ".safetensors"),
        *("/account", "/account/secrets", "/account/webhooks", "/account/usage", "/account/security", "/account/data"),
        *("/environments", environment, f"{environment}/edit", f"{environment}/revisions/1"),
        *(
            "/fleet",
            "/fleet/memory",
            "/fleet/users",
            f"/fleet/users/{client.http.get('/api/v1/me').json()['id']}/storage",
            "/runs/none",
        ),
    ]


@pytest.mark.parametrize("screen", SCREENS)
def test_every_page(real: Stack, enter: Enter, paths: list[str], screen: str, node_clients: Path) -> None:
    axe = axe_in(node_clients)
    page = enter(real, None, viewport=SCREENS[screen])
    found = [each for path in paths for each in findings(page, axe, path)]
    assert not found, "\n".join(map(str, found))


def test_the_login_and_the_way_in(real: Stack, enter: Enter, node_clients: Path) -> None:
    axe = axe_in(node_clients)
    page = enter(real, None)
    page.get_by_role("button", name="Log out").click()
    for path in ("/login", real.login_link("newcomer")):
        page.goto(path)
        page.evaluate(axe)
        assert serious(page.evaluate(LOOK)) == []


@pytest.mark.parametrize("path", ["/login", "/workflows", "/runs", "/account", "/environments", "/fleet"])
def test_pages_run_nothing_but_the_sites_own_files(real: Stack, path: str) -> None:
    answer = real.visitor().get(path)

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in answer.text
    assert " style=" not in answer.text
    assert " onclick=" not in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_pages_work_with_the_keyboard_alone(real: Stack, enter: Enter, paths: list[str]) -> None:
    page = enter(real, None)
    page.goto("/runs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    first = page.evaluate("document.activeElement.getAttribute('href')")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.getAttribute('href')") != first
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{first}")
