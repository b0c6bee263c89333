"""A workflow's settings choose its environment; it is checked, and shown on its page and on the pages of its runs."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from comfyward.store import environments
from tests.attacks.environment_lab import Lab
from tests.attacks.raw_worker import graph_of
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.web.conftest import LIMIT_MS, Enter


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


def test_by_name_and_by_number(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    lab = Lab(stack)
    worker = lab.worker()
    for number in (1, 2):
        lab.has_ready(worker, lab.revision(str(number)), "Paint", "Crop")
        assert lab.post("promote", revision=number).status_code == 200
    client = stack.client("chooser")
    made = client.http.post("/api/v1/workflows", json={"name": "Mine", "prompt": graph_of("Crop")}).json()["id"]
    page = enter(stack, "chooser")

    def choose(value: str) -> None:
        page.goto(f"/workflows/{made}/settings")
        page.get_by_label("Environment").select_option(value)
        page.get_by_role("button", name="Save").click()
        page.wait_for_url(f"**/workflows/{made}")

    page.goto(f"/workflows/{made}/settings")
    offered = page.get_by_label("Environment").locator("option").evaluate_all("all => all.map(each => each.value)")
    assert offered == ["", lab.name, f"{lab.name}@2", f"{lab.name}@1"]
    choose(f"{lab.name}@1")
    expect(page.locator("main")).to_contain_text(f"Environment {lab.name}, revision 1")
    choose(lab.name)
    expect(page.locator("main")).to_contain_text(f"Environment {lab.name}, revision 2")
    page.locator("[data-run-form]").get_by_label("Accelerator").select_option(lab.name)
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/runs/*")
    run = page.url.rpartition("/")[2]
    expect(page.locator("main")).to_contain_text(f"{lab.name}, revision 2")

    stack.write(environments.delete_named, lab.name)
    page.goto(f"/workflows/{made}")
    expect(page.get_by_role("region", name="Cannot run yet")).to_contain_text(f"There is no environment '{lab.name}'.")
    of_run = stack.visitor("chooser").get(f"/runs/{run}/missing", headers={"HX-Request": "true"}).text
    assert f"There is no environment &#39;{lab.name}&#39;." in of_run
    assert "Choose another environment" not in of_run  # a run keeps its own
    page.get_by_role("link", name="Choose another environment").click()
    page.get_by_label("Description").fill("still saved")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(f"**/workflows/{made}")
    choose("")
    assert client.http.get(f"/api/v1/workflows/{made}").json()["environment"] == "default"


def test_what_does_not_exist_is_refused(stack: Stack) -> None:
    visitor = stack.visitor("chooser")
    made = visitor.post("/workflows/new", data={"from": "empty", "name": "Mine"}).headers["location"].split("/")[2]

    refused = visitor.post(f"/workflows/{made}/settings", data={"name": "Mine", "environment": "nobody-has-this"})

    assert refused.status_code == 400
    assert "There is no environment &#39;nobody-has-this&#39;." in refused.text
    assert visitor.get(f"/api/v1/workflows/{made}").json()["environment"] == "default"
