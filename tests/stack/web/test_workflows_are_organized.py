"""Workflows on the website: made, found, described, shared, copied, deleted and brought back."""

from __future__ import annotations

import re

import httpx2
from playwright.sync_api import expect

from tests.stack.graphs import picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import PRESS_MS, Enter


def made(answer: httpx2.Response) -> str:
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].split("/")[2]


def settings(**changes: str) -> dict[str, str]:
    return {"name": "Named", "description": "", "tags": "", "visibility": "PRIVATE", "accelerator": "", **changes}


def test_from_a_starter_to_a_run_and_its_card(real: Stack, enter: Enter, account: str) -> None:
    page = enter(real, account)

    page.get_by_role("link", name="New workflow").click()
    page.locator("form", has_text="Colours").get_by_role("button", name="Use starter").click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("h1 .badge", has_text="done").wait_for()
    expect(page.locator("figure")).to_have_count(3)
    expect(page.locator("video")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all").click()
    assert download.value.suggested_filename.endswith(".zip")
    page.get_by_role("button", name="Zoom").first.click()
    page.locator("dialog.zoomed img").wait_for()
    page.keyboard.press("Escape")
    page.goto("/workflows")
    page.locator(".card", has_text="Colours").locator("img").wait_for()
    assert "1 run" in page.locator(".card", has_text="Colours").inner_text()


def test_from_a_template_of_comfyuis(real: Stack, enter: Enter, account: str) -> None:
    page = enter(real, account)

    page.goto("/workflows/new")
    page.get_by_label("Search templates").fill("z-image-turbo text")
    found = page.locator("#templates form")
    expect(found).to_have_count(2)  # a click during the search would be on a card that is being replaced
    named = found.filter(has_text="Z-Image-Turbo: Text to Image").first
    named.get_by_role("button", name="Use template").click(delay=PRESS_MS)
    page.wait_for_url("**/edit")
    page.wait_for_selector("body[data-loaded]", timeout=90_000)


def test_search_tags_settings_delete_and_undo(real: Stack, enter: Enter, account: str) -> None:
    visitor = real.visitor(account)
    one, two = (made(visitor.post("/workflows/new", data={"from": "empty", "name": name})) for name in ("One", "Two"))
    changes = settings(name="Lighthouse 100%", description="At night", tags="sea, night ,sea", accelerator="CPU")
    assert visitor.post(f"/workflows/{one}/settings", data=changes).status_code == 303
    changed = visitor.get(f"/api/v1/workflows/{one}").json()
    assert (changed["name"], changed["tags"], changed["accelerator"]) == ("Lighthouse 100%", ["sea", "night"], "CPU")
    assert visitor.post(f"/workflows/{one}/settings", data=settings(name=" ")).status_code == 400
    # An accelerator that is not here now is still the workflow's: a page must not lose it.
    visitor.patch(f"/api/v1/workflows/{two}", json={"accelerator": "H100"})
    for part in ("settings", "edit"):
        assert '<option value="H100" selected>' in visitor.get(f"/workflows/{two}/{part}").text

    for query, found in (
        ("q=lightHOUSE+NIGHT", True),
        ("q=100%25", True),
        ("tag=sea", True),
        ("q=1%25", False),
        ("tag=se", False),
    ):
        assert ("Lighthouse" in visitor.get(f"/workflows?{query}").text) is found, query

    page = enter(real, account)
    page.get_by_label("Search workflows").fill("two")
    page.locator(".card", has_text="Lighthouse").wait_for(state="detached")
    page.locator(".card", has_text="Two").click()
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("button", name="Delete workflow").click()
    page.get_by_role("status").get_by_text("was deleted").wait_for()
    assert visitor.get(f"/api/v1/workflows/{two}").status_code == 404
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("heading", name="Two").wait_for()
    assert visitor.get(f"/api/v1/workflows/{two}").status_code == 200
    default = visitor.get("/api/v1/workflows/default").json()["id"]
    assert visitor.post(f"/workflows/{default}/delete").status_code == 409


def test_a_public_workflow_is_copied_with_its_lineage(real: Stack, account: str) -> None:
    owner, other = real.visitor(account), real.visitor(f"{account}-friend")
    shared = owner.post("/api/v1/workflows", json={"name": "For all", "prompt": picture(), "tags": ["free"]}).json()[
        "id"
    ]
    assert other.get(f"/explore/{shared}").status_code == 404
    assert "For all" not in other.get("/explore").text
    real.client(account).finish(owner.post(f"/api/v1/workflows/{shared}/runs", json={}).json()["id"])

    owner.post(f"/workflows/{shared}/settings", data=settings(name="For all", visibility="PUBLIC"))
    assert account in other.get("/explore").text
    assert other.get(f"/explore/{shared}/picture").headers["content-type"] == "image/webp"
    copy = made(other.post(f"/explore/{shared}/use"))

    page = other.get(f"/workflows/{copy}").text
    assert re.search(rf'Copied from <a href="/explore/{shared}">For all</a>', page)
    mine = other.get(f"/api/v1/workflows/{copy}").json()
    assert (mine["parent_workflow_id"], mine["prompt"]) == (shared, picture())
    assert other.get(f"/workflows/{shared}").status_code == 404
    assert other.post(f"/workflows/{shared}/settings", data=settings(name="Mine now")).status_code == 404
    twin = made(other.post(f"/workflows/{copy}/duplicate"))
    assert other.get(f"/api/v1/workflows/{twin}").json()["name"] == "For all (copy)"
