"""A form whose session ended loses nothing that was typed; going back after a search or an error shows the page."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests import loopback
from tests.fakes.identity import provider
from tests.stack.conftest import StartFake
from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter

TYPED = "Typed for ten minutes, with “quotes” and שלום"
PASSWORD = "a password of the visitor"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once()


def log_in_again(page: Page, account: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(account)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def enter_with_password(stack: Stack, account: str, enter: Enter) -> Page:
    page = enter(stack, account)
    page.goto(stack.login_link(account))
    page.get_by_label("Choose a password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/workflows")
    return page


def test_a_form_is_filled_in_again_after_the_login(stack: Stack, account: str, enter: Enter) -> None:
    page = enter_with_password(stack, account, enter)
    graph = {"1": node("EmptyImage"), "2": node("SaveImage", images=["1", 0])}
    workflow = stack.client(account).http.post("/api/v1/workflows", json={"name": "Mine", "prompt": graph}).json()["id"]
    page.goto(f"/workflows/{workflow}/settings")
    page.get_by_label("Description").fill(TYPED)
    page.get_by_label("Public").check()
    page.context.clear_cookies()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Log in, and what you typed is there again.")).to_be_visible()
    log_in_again(page, account, "mistyped")
    expect(page.get_by_text("Incorrect name or password.")).to_be_visible()
    log_in_again(page, account)

    page.wait_for_url(f"{stack.url}/workflows/{workflow}/settings")  # not the login's "?next="
    expect(page.get_by_text("What you had typed is here again.")).to_be_visible()
    expect(page.get_by_label("Description")).to_have_value(TYPED)
    expect(page.get_by_label("Public")).to_be_checked()
    page.get_by_role("button", name="Save").click()
    page.goto(f"/workflows/{workflow}/settings")
    expect(page.get_by_label("Description")).to_have_value(TYPED)
    expect(page.get_by_text("What you had typed is here again.")).to_have_count(0)


def test_another_account_gets_none_of_it(stack: Stack, account: str, enter: Enter) -> None:
    enter_with_password(stack, f"{account}-other", enter)
    page = enter_with_password(stack, account, enter)
    page.goto("/account")
    page.get_by_role("textbox", name="Name").fill(TYPED)
    page.context.clear_cookies()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_text("Log in, and what you typed is there again.")).to_be_visible()
    log_in_again(page, f"{account}-other")

    page.wait_for_url(f"{stack.url}/account")  # as a pattern, the login's "?next=/account" would be like it
    expect(page.get_by_text(f"{account}-other", exact=True)).to_be_visible()
    expect(page.get_by_role("textbox", name="Name")).to_have_value("")
    assert page.evaluate("sessionStorage.getItem('draft')") is None


def test_a_page_that_looks_for_news_keeps_what_is_typed_on_it(stack: Stack, enter: Enter) -> None:
    page = enter(stack, "admin")
    page.goto("/fleet")
    page.get_by_role("textbox", name="Name").fill(TYPED)
    page.context.clear_cookies()
    expect(page.get_by_text("Log in, and what you typed is there again.")).to_be_visible()
    page.goto(stack.login_link("admin"))
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/workflows")
    page.goto("/fleet")

    expect(page.get_by_text("What you had typed is here again.")).to_be_visible()
    expect(page.get_by_role("textbox", name="Name")).to_have_value(TYPED)


def test_a_logout_leaves_nothing_of_a_form_that_was_not_sent(stack: Stack, account: str, enter: Enter) -> None:
    page = enter(stack, account)
    page.goto("/account")
    page.get_by_role("textbox", name="Name").fill(TYPED)
    create = page.get_by_role("button", name="Create key")
    create.evaluate("button => button.form.addEventListener('submit', (event) => event.preventDefault())")
    create.click()
    assert TYPED in page.evaluate("sessionStorage.getItem('draft')")
    page.get_by_role("button", name="Log out").click()

    page.wait_for_url("**/login")
    assert page.evaluate("sessionStorage.getItem('draft')") is None


def test_back_after_a_search_shows_the_whole_page(stack: Stack, account: str, enter: Enter) -> None:
    page = enter(stack, account)
    page.goto("/models")
    page.get_by_role("searchbox").fill("nothing of that name")
    page.wait_for_url("**/models?q=nothing*")
    page.evaluate("document.body.dataset.old = 1")
    page.go_back()

    expect(page.locator("body[data-old]")).to_have_count(0)
    page.wait_for_url("**/models")
    expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("")


def test_an_error_leads_back_to_what_was_typed(stack: Stack, account: str, enter: Enter) -> None:
    page = enter(stack, account)
    page.goto("/workflows/new")
    name = page.get_by_role("textbox", name="Name")
    name.evaluate("field => (field.maxLength = 5000)")
    name.fill(TYPED * 40)
    page.get_by_role("button", name="Create workflow").click()
    page.get_by_role("button", name="Go back to what you typed").click()

    expect(name).to_have_value(TYPED * 40)
    expect(page.get_by_text("It was not accepted. What you had typed is here again.")).to_be_visible()


def test_a_login_by_an_identity_provider_leads_back_to_the_page(start_fake_once: StartFake) -> None:
    with provider() as served:
        client = {"oidc_client_id": "comfyward", "oidc_client_secret": "hush"}
        stack = start_fake_once(oidc_issuer=served.url, oidc_signup="true", **client)
        with loopback.Client(base_url=stack.url, follow_redirects=True) as browser:
            for back, led in (
                ("/runs?tag=a%26b", "/runs?tag=a%26b"),
                ("//elsewhere.example/", "/workflows"),
                (f"/runs?tag={'a' * 5000}", "/workflows"),
            ):
                answer = browser.get("/login/oidc", params={"next": back})
                assert str(answer.url) == stack.url + led
