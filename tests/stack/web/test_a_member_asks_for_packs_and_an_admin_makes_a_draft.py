"""A workflow lacks nodes: its owner asks for their packs, an admin accepts or declines, and the owner reads which."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from comfyward.store import environments
from comfyward.store.db import now_ms
from tests.attacks.environment_lab import Lab
from tests.stack.conftest import StartFake
from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.web.conftest import LIMIT_MS, Enter
from tests.stack.web.environments import TOOLING, spec_of, write_node_map

SOURCE = "git+https://github.com/someone/fancy-nodes@HEAD"
GRAPH = {"1": node("Fancy Blend")}


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    node_map = write_node_map(tmp_path_factory.mktemp("map"))
    stack = start_fake_once(fleet="none", node_map_dir=node_map)
    Lab(stack).worker()  # has a catalog, in which the class is missing
    return stack


def lacking(stack: Stack, account: str | None, name: str) -> str:
    made = stack.client(account).http.post("/api/v1/workflows", json={"name": name, "prompt": GRAPH})
    return str(made.json()["id"])


def test_a_request_is_accepted(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    workflow = lacking(stack, "asker", "Fancy pictures")
    member, admin = enter(stack, "asker"), enter(stack, None)
    member.goto(f"/workflows/{workflow}")
    member.get_by_role("button", name="Ask an admin for what it needs").click()
    expect(member.get_by_text("There is no answer yet.")).to_be_visible()
    expect(member.get_by_role("button", name="Ask")).to_have_count(0)

    admin.goto("/environments")
    requests = admin.get_by_role("region", name="Requests")
    expect(requests).to_contain_text("asker")
    expect(requests).to_contain_text(f"{SOURCE} for Fancy Blend · from ComfyUI-Manager's list")
    admin.get_by_role("button", name="Accept the request of asker").click()
    admin.wait_for_url("**/environments/for-asker/edit")
    assert stack.write(environments.get, "for-asker").spec.endswith(f'[[pack]]\nsource = "{SOURCE}"\n')

    member.reload()
    expect(member.get_by_text("put what you asked for into the environment for-asker")).to_be_visible()
    member.goto("/environments")
    expect(member.get_by_role("region", name="Your requests")).to_contain_text("accepted")


def test_a_request_is_declined_with_a_reason(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    workflow = lacking(stack, "other", "Fancy pictures")
    asked = stack.visitor("other").post(f"/workflows/{workflow}/ask")
    assert asked.status_code == 303
    admin = enter(stack, None)
    admin.goto("/environments")
    admin.get_by_label("Reason for declining the request of other").fill("It fetches models by itself.")
    admin.get_by_role("button", name="Decline the request of other").click()
    expect(admin.get_by_label("Reason for declining the request of other")).to_have_count(0)

    member = enter(stack, "other")
    member.goto(f"/workflows/{workflow}")
    expect(member.get_by_text("has declined what you asked for: It fetches models by itself.")).to_be_visible()
    expect(member.get_by_role("button", name="Ask again")).to_be_visible()


def test_an_admin_extends_an_environment_with_one_press(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    stack.write(environments.create, "portraits", spec_of(TOOLING), now_ms())
    workflow = lacking(stack, None, "Fancy pictures")
    page = enter(stack, None)
    page.goto(f"/workflows/{workflow}")
    page.get_by_label("Add what it needs to").select_option("portraits")
    page.get_by_role("button", name="Make draft").click()
    page.wait_for_url("**/environments/portraits/edit")
    assert stack.write(environments.get, "portraits").spec == spec_of(TOOLING, SOURCE)

    page.goto(f"/workflows/{workflow}")
    page.get_by_role("button", name="Make draft").click()
    page.wait_for_url("**/environments/fancy-pictures/edit")


def test_members_make_no_drafts(stack: Stack) -> None:
    workflow = lacking(stack, "third", "Fancy pictures")
    member = stack.visitor("third")
    assert member.post(f"/workflows/{workflow}/draft", data={"environment": ""}).status_code == 403
    assert member.post("/environment-requests/x/accept", data={"environment": ""}).status_code == 403
    assert member.post("/environment-requests/x/decline", data={"reply": ""}).status_code == 403
    assert stack.visitor("a-fourth").post(f"/workflows/{workflow}/ask").status_code == 404
