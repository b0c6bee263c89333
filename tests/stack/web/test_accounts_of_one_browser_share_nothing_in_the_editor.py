"""What the editor stores in a browser for one account, no other account of that browser meets.

Scripts of packs write there too: what one account's packs leave must not run in, or be read from, another's editor.
"""

from __future__ import annotations

from playwright.sync_api import Frame, Page

from tests.stack.graphs import picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter, editor_of, until

STORE = """async (text) => {
  localStorage.setItem("left", text);
  await new Promise((resolve, reject) => {
    const opening = indexedDB.open("left");
    opening.onupgradeneeded = () => opening.result.createObjectStore("texts").put(text, "left");
    opening.onsuccess = () => (opening.result.close(), resolve());
    opening.onerror = () => reject(opening.error);
  });
}"""
LEFT = """async () => {
  const databases = await indexedDB.databases();
  return [localStorage.getItem("left"), databases.some(({ name }) => name === "left")];
}"""


def opened(page: Page, stack: Stack, account: str, query: str = "") -> Frame:
    """The editor on a new workflow of an account, which logs in in this window."""
    made = stack.client(account).http.post("/api/v1/workflows", json={"name": "Mine", "prompt": picture()})
    page.goto(stack.login_link(account))
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/workflows")
    page.goto(f"/workflows/{made.json()['id']}/edit{query}")
    return editor_of(page)


def test_each_account_has_a_host_name_of_its_own(real: Stack, enter: Enter, account: str) -> None:
    page, other = enter(real, account), f"{account}-other"
    first = opened(page, real, account)
    host = first.evaluate("location.hostname")
    first.evaluate(STORE, "of the first")

    second = opened(page, real, other)
    assert second.evaluate("location.hostname") != host
    assert second.evaluate(LEFT) == [None, False]
    second.evaluate(STORE, "of the second")

    back = opened(page, real, account)
    assert (back.evaluate("location.hostname"), back.evaluate(LEFT)) == (host, ["of the first", True])


def test_where_accounts_share_an_address_it_is_cleared_for_the_next(real: Stack, enter: Enter, account: str) -> None:
    page, other = enter(real, account), f"{account}-other"
    first = opened(page, real, account, "?frame=here")
    assert first.evaluate("location.origin") == real.url
    first.evaluate(STORE, "of the first")
    first.evaluate("localStorage.setItem('theme', 'dark')")  # the website's own
    assert opened(page, real, account, "?frame=here").evaluate(LEFT) == ["of the first", True]

    second = opened(page, real, other, "?frame=here")

    until(second, "indexedDB.databases().then((all) => !all.some(({ name }) => name === 'left'))")
    assert second.evaluate("[localStorage.getItem('left'), localStorage.getItem('theme')]") == [None, "dark"]
    second.evaluate("localStorage.removeItem('theme')")
