"""A double click, Back and the same press again, a page loaded again, a request repeated after its connection broke:
each of them does what one press does, once. What is pressed on purpose a second time is done a second time."""

from __future__ import annotations

import pytest
from playwright.sync_api import Dialog, Locator, Page, Request, Route

from tests.stack.conftest import StartFake
from tests.stack.graphs import node, picture
from tests.stack.stack import Client, Stack
from tests.stack.web.conftest import Enter

GRAPH = picture(prefix="hello")
DOUBLE = "button => { button.click(); button.click(); }"


@pytest.fixture
def client(real: Stack, account: str) -> Client:
    return real.client(account)


@pytest.fixture
def page(real: Stack, enter: Enter, account: str) -> Page:
    return enter(real, account)


@pytest.fixture
def workflow(client: Client) -> str:
    made = client.http.post("/api/v1/workflows", json={"name": "Hello", "prompt": GRAPH})
    return f"/workflows/{made.json()['id']}"


def press(page: Page, name: str) -> Locator:
    return page.locator("main").get_by_role("button", name=name, exact=True)


def run_ids(client: Client) -> list[str]:
    return [run["id"] for run in client.http.get("/api/v1/runs").json()]


def test_run(page: Page, client: Client, workflow: str) -> None:
    page.goto(workflow)
    press(page, "Run").dblclick()
    page.wait_for_url("**/runs/*")
    [first] = run_ids(client)

    # Back: the same form, pressed again, is the same run. Changed, and changed back, it is a new one.
    page.go_back()
    press(page, "Run").click()
    page.wait_for_url(f"**/runs/{first}")
    assert run_ids(client) == [first]
    for width in ("72", "64"):
        page.go_back()
        page.get_by_label("width").fill(width)
        press(page, "Run").click()
        page.wait_for_url("**/runs/*")
    assert len(run_ids(client)) == 3

    # Opened anew, the same press is meant.
    page.goto(workflow)
    press(page, "Run").click()
    page.wait_for_url("**/runs/*")
    assert len(run_ids(client)) == 4


def test_run_is_off_while_it_is_on_its_way_and_on_again_after_an_error(
    page: Page, client: Client, workflow: str
) -> None:
    held: list[Route] = []
    page.goto(workflow)
    page.route("**/run", lambda route: held.append(route))
    with page.expect_request("**/run"):
        press(page, "Run").click()
    assert press(page, "Run").is_disabled()

    # The server did it, and its answer is lost on the way.
    assert held[0].fetch(max_redirects=0).ok
    held[0].abort("connectionreset")
    page.get_by_text("Could not reach the server").wait_for()
    assert press(page, "Run").is_enabled()
    page.unroute("**/run")
    press(page, "Run").click()
    page.wait_for_url("**/runs/*")
    assert len(run_ids(client)) == 1


def test_an_intent_outlives_the_server(start_fake: StartFake, enter: Enter) -> None:
    stack = start_fake(lease_s="3").wait_ready()
    client, page = stack.client(), enter(stack, None)
    made = client.http.post("/api/v1/workflows", json={"prompt": {"1": node("FakeSave", text="hello")}}).json()["id"]
    page.goto(f"/workflows/{made}")
    page.route("**/run", lambda route: (route.fetch(max_redirects=0), route.abort("connectionreset")))
    press(page, "Run").click()
    page.get_by_text("Could not reach the server").wait_for()
    page.unroute("**/run")
    stack.kill()
    stack.start()

    press(page, "Run").click()
    page.wait_for_url("**/runs/*")
    assert len(run_ids(client)) == 1


def test_run_again_and_run_with_changes(page: Page, client: Client) -> None:
    first = client.run(GRAPH)["id"]

    page.goto(f"/runs/{first}")
    press(page, "Run again").evaluate(DOUBLE)
    page.wait_for_url(lambda url: "/runs/" in url and first not in url)
    assert len(run_ids(client)) == 2

    page.goto(f"/runs/{first}/change")
    press(page, "Run").evaluate(DOUBLE)
    page.wait_for_url(lambda url: url.rpartition("/")[2] not in (first, "change"))
    assert len(run_ids(client)) == 3


def test_a_form_sent_twice_by_a_browser_without_scripts(real: Stack, account: str, client: Client) -> None:
    """Both requests are on their way at once, as a double click sends them."""
    workflow = client.http.post("/api/v1/workflows", json={"prompt": GRAPH}).json()["id"]
    visitor = real.visitor(account)
    text = visitor.get(f"/workflows/{workflow}").text
    intent = text.partition('name="intent" value="')[2].partition('"')[0]
    assert len(intent) > 20

    sent = [visitor.post(f"/workflows/{workflow}/run", data={"intent": intent}) for _ in range(2)]

    assert [answer.status_code for answer in sent] == [303, 303]
    assert sent[0].headers["location"] == sent[1].headers["location"]
    assert len(run_ids(client)) == 1


def test_keys_copies_and_imports_are_made_once(page: Page, client: Client, workflow: str) -> None:
    page.on("dialog", Dialog.accept)

    # A key, seen by whoever clicked twice, and the same one after a reload.
    page.goto("/account")
    page.get_by_label("Name").fill("laptop")
    press(page, "Create key").evaluate(DOUBLE)
    page.locator("#new-key").wait_for()
    key = page.locator("#new-key").inner_text()
    page.reload()
    assert page.locator("#new-key").inner_text() == key
    assert page.get_by_role("cell", name="laptop", exact=True).count() == 1

    # Copies and imports.
    page.goto(workflow)
    press(page, "Duplicate").evaluate(DOUBLE)
    page.get_by_role("heading", name="Hello (copy)").wait_for()
    assert [each["name"] for each in client.http.get("/api/v1/workflows").json()].count("Hello (copy)") == 1
    page.goto("/files")
    page.get_by_label("URL", exact=True).fill("http://127.0.0.1:9/style.safetensors")
    press(page, "Import").evaluate(DOUBLE)
    page.locator(".imports li").wait_for()
    page.reload()
    assert page.locator(".imports li").count() == 1

    # What is deleted by the first of two clicks is not missed by the second.
    run = client.run(GRAPH)["id"]
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if request.method == "POST" else None)
    page.goto(f"/runs/{run}")
    press(page, "Delete").evaluate(DOUBLE)
    page.wait_for_url("**/workflows/*")
    assert len(asked) == 1
    assert run not in run_ids(client)


def test_a_double_click_on_a_one_time_link_logs_in(real: Stack, page: Page) -> None:
    page.context.clear_cookies()
    page.goto(real.login_link("newcomer"))
    press(page, "Continue").dblclick()
    page.wait_for_url("**/workflows")
    page.locator(".who .name", has_text="newcomer").wait_for()
