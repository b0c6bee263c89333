"""Nothing that a reader looks at moves or vanishes: the navigation is whole on every screen and the same on every page,
nothing jumps while a page loads, times have dates, and a wrong address or an ended session is a page of the site."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.stack.graphs import picture, slow, text_to_image
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter

PEOPLE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PLACES = """(selector) => [...document.querySelectorAll(selector)].map((each) => {
  const { left, right, top } = each.getBoundingClientRect();
  return [each.textContent.trim(), left, right, top];
})"""
# Those further down are lazy: a browser does not fetch them before somebody scrolls there.
DECODE_WHAT_IS_SEEN = """Promise.all([...document.images]
  .filter((image) => image.getBoundingClientRect().top < innerHeight)
  .map((image) => image.decode().catch(() => null)))"""
COUNT_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    window.shifts.push([value, sources.map((each) => each.node?.outerHTML?.slice(0, 120))]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.fixture(scope="module")
def pages(real: Stack) -> list[str]:
    """An address of each kind, with something on each page."""
    client = real.client()
    made = client.http.post("/api/v1/workflows", json={"name": "Sea", "prompt": picture(), "visibility": "PUBLIC"})
    workflow = f"/workflows/{made.json()['id']}"
    run = client.finish(client.post_run({"prompt": picture()}, made.json()["id"]).json()["id"])
    return [
        *("/workflows", "/workflows/new", workflow, f"{workflow}/form", f"{workflow}/api", f"{workflow}/settings"),
        *("/runs", f"/runs/{run['id']}", "/explore", "/files", "/fleet", "/fleet/users", "/nowhere"),
        *("/account", "/account/secrets", "/account/webhooks", "/account/usage", "/account/security", "/account/data"),
    ]


@pytest.mark.parametrize("width", [1400, 390, 320])
def test_the_navigation_is_whole_and_stays(real: Stack, enter: Enter, pages: list[str], width: int) -> None:
    page = enter(real, None, viewport={"width": width, "height": 800})
    seen: dict[str, list[Any]] = {"nav[aria-label=Main] a": [], "nav.tabs a": []}
    for path in pages:
        page.goto(path)
        for selector, places in seen.items():
            here = page.evaluate(PLACES, selector)
            assert all(left >= 0 and right <= width for _, left, right, _ in here), (path, here)
            if selector == "nav[aria-label=Main] a" or path.startswith("/account"):
                places.append(here)
    for selector, places in seen.items():
        assert places[0][-1][0] == {"nav[aria-label=Main] a": "Account", "nav.tabs a": "Data"}[selector]
        assert all(each == places[0] for each in places), (selector, places)


def test_nothing_jumps_while_a_page_loads(real: Stack, enter: Enter, pages: list[str]) -> None:
    page = enter(real, None)
    page.add_init_script(COUNT_SHIFTS)
    for path in pages:
        page.goto(path, wait_until="networkidle" if path not in ("/runs", pages[2], "/fleet") else "load")
        page.evaluate(DECODE_WHAT_IS_SEEN)
        shifts = page.evaluate("window.shifts")
        assert sum(value for value, _ in shifts) < 0.01, (path, shifts)


def test_times_of_other_days_have_their_date(real: Stack, enter: Enter, account: str) -> None:
    run = real.client(account).run(picture())
    page = enter(real, account, timezone_id="Asia/Tokyo", locale="en-GB")
    zone = datetime.timezone(datetime.timedelta(hours=9))
    made = datetime.datetime.fromisoformat(run["created_at"]).astimezone(zone)
    day = f"{made.day} {made:%b} {made.year}"

    page.clock.set_fixed_time(made)
    page.goto("/runs")
    row = page.locator(f"#run-{run['id']} time")
    assert row.inner_text() == f"{made:%H:%M:%S}"
    assert f"{made:%A}" in str(row.get_attribute("title"))

    # Minutes later the next day has begun.
    page.clock.set_fixed_time(made.replace(hour=0, minute=1) + datetime.timedelta(days=1))
    page.reload()
    assert page.locator(f"#run-{run['id']} time").inner_text() == f"{day}, {made:%H:%M}"


def test_labels_stand_above_their_inputs(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"prompt": text_to_image()}).json()["id"]
    page.goto(f"/workflows/{made}")
    lefts = page.evaluate(
        """() => [...document.querySelectorAll(".field > label[for]")].map((label) => {
          const range = document.createRange();
          range.selectNodeContents(label);
          return [label.closest(".field").className, range.getBoundingClientRect().left];
        })"""
    )
    assert {"field number", "field integer", "field long-text"} <= {name for name, _ in lefts}
    assert len({left for _, left in lefts}) == 1, lefts


def test_a_wrong_address_is_a_page_for_people_and_json_for_programs(real: Stack) -> None:
    visitor = real.visitor()
    for method, path, status in [
        ("GET", "/nowhere", 404),
        ("GET", "/runs/a/b/c", 404),
        ("GET", "/logout", 404),
        ("POST", "/runs", 404),
        ("DELETE", "/account", 404),
        ("GET", "/workflows/none", 404),
        ("GET", "/static/0/none.js", 404),
    ]:
        answer = visitor.request(method, path, headers=PEOPLE)
        assert answer.status_code == status, path
        assert answer.headers["content-type"].startswith("text/html"), path
        assert "Go to workflows" in answer.text, path
        assert "It does not exist" in answer.text, path
        assert "default-src 'none'" in answer.headers["content-security-policy"], path
    for path in ("/api/v1/nowhere", "/api/v2/nowhere", "/worker/v1/nowhere", "/fleet/v1/nowhere", "/api"):
        answer = visitor.get(path, headers=PEOPLE)
        assert answer.headers["content-type"].startswith("application/json"), path
    assert visitor.get("/nowhere").json()["code"] == "not_found"
    visitor.cookies.clear()
    assert "Go to login" in visitor.get("/nowhere", headers=PEOPLE).text


def test_a_session_that_ends_leads_to_the_login_and_back(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"name": "Sea", "prompt": picture()}).json()["id"]

    def end_session() -> None:
        page.context.clear_cookies()

    _open_followed(page, f"/workflows/{made}", "**/live?*")
    end_session()
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url(f"**/login?next=/workflows/{made}")

    # Pages that show what goes on notice by themselves.
    _enter_again(page, real, account)
    _open_followed(page, "/runs", "**/live?*")
    page.get_by_text("No runs yet").wait_for()
    end_session()
    run_id = client.submit(slow(2000))
    page.wait_for_url("**/login?next=/runs")
    _enter_again(page, real, account)
    _open_followed(page, f"/runs/{run_id}", "**/events*")
    page.locator("h1 .badge", has_text="running").wait_for()
    end_session()
    client.cancel(run_id)
    page.wait_for_url(f"**/login?next=/runs/{run_id}")


def _open_followed(page: Page, path: str, stream: str) -> None:
    """Opens a page, whose stream of events is open then: a browser that has lost its session does not get one."""
    with page.expect_response(stream):
        page.goto(path)


def _enter_again(page: Page, real: Stack, account: str) -> None:
    page.goto(real.login_link(account))
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/workflows")
