"""The way in: passwords, one-time links, sessions that are listed and ended, and requests from other sites."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest

from tests import loopback
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once()


@pytest.fixture
def browser(stack: Stack) -> Iterator[httpx2.Client]:
    with loopback.Client(base_url=stack.url, headers={"Origin": stack.url}) as http:
        yield http


def log_in(browser: httpx2.Client, name: str, password: str, **more: str) -> httpx2.Response:
    return browser.post("/login", data={"name": name, "password": password, **more})


def set_password(stack: Stack, browser: httpx2.Client, account: str) -> None:
    link = stack.login_link(account).removeprefix(stack.url)
    assert browser.post(link, data={"password": "short"}).status_code == 400  # and the link still works
    assert browser.post(link, data={"password": PASSWORD}).status_code == 303
    browser.cookies.clear()


def test_only_the_right_password_logs_in(stack: Stack, account: str, browser: httpx2.Client) -> None:
    set_password(stack, browser, account)

    assert log_in(browser, account, "wrong password").status_code == 401
    assert log_in(browser, "nobody", PASSWORD).status_code == 401
    assert browser.get("/workflows").status_code == 303
    answer = log_in(browser, account, PASSWORD, next="/runs?status=done")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?status=done")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert browser.get("/workflows").status_code == 200


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_a_login_leads_to_no_other_site(stack: Stack, account: str, browser: httpx2.Client, elsewhere: str) -> None:
    set_password(stack, browser, account)

    assert log_in(browser, account, PASSWORD, next=elsewhere).headers["location"] == "/workflows"


def test_password_guessing_is_slowed_down(stack: Stack, account: str, browser: httpx2.Client) -> None:
    set_password(stack, browser, account)

    answers = [log_in(browser, account, f"guess number {number}").status_code for number in range(9)]

    assert answers == [401] * 8 + [429]
    assert log_in(browser, account, PASSWORD).status_code == 429
    assert browser.post(stack.login_link(account).removeprefix(stack.url), data={"password": ""}).status_code == 303


@pytest.mark.several_servers
def test_sessions_are_listed_and_ended(stack: Stack, account: str) -> None:
    laptop, phone = stack.visitor(account), stack.visitor(account)
    listed = laptop.get("/account/security").text
    assert listed.count("/end") == 3  # two sessions, and all others

    assert laptop.post("/account/sessions/end").status_code == 303
    assert phone.get("/workflows").status_code == 303
    assert phone.get("/api/v1/me").status_code == 401
    [own] = re.findall(r"/account/sessions/([^/]+)/end", laptop.get("/account/security").text)
    assert stack.visitor("bob").post(f"/account/sessions/{own}/end").status_code == 404
    assert laptop.post("/logout").status_code == 303
    assert laptop.get("/workflows").status_code == 303


def test_a_new_password_ends_the_other_sessions(stack: Stack, account: str, browser: httpx2.Client) -> None:
    set_password(stack, browser, account)
    other = stack.visitor(account)
    log_in(browser, account, PASSWORD)

    assert browser.post("/account/password", data={"old": "wrong", "new": "another long one"}).status_code == 403
    assert browser.post("/account/password", data={"old": PASSWORD, "new": "short"}).status_code == 400
    assert browser.post("/account/password", data={"old": PASSWORD, "new": "another long one"}).status_code == 303
    assert browser.get("/workflows").status_code == 200
    assert other.get("/workflows").status_code == 303
    assert log_in(browser, account, PASSWORD).status_code == 401
    assert log_in(browser, account, "another long one").status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_cannot_act_with_a_visitors_cookie(stack: Stack, account: str, headers: dict[str, str]) -> None:
    visitor = stack.visitor(account)

    for path in ("/account/keys", "/logout", "/login", "/api/v1/workflows", "/api/v1/uploads"):
        answer = visitor.post(path, data={"name": "stolen"}, headers=headers)
        assert answer.status_code == 403, path
    assert visitor.get("/api/v1/me").status_code == 200
    assert "stolen" not in visitor.get("/account").text


def test_a_link_works_once_and_only_by_its_button(stack: Stack, account: str, browser: httpx2.Client) -> None:
    link = stack.login_link(account).removeprefix(stack.url)

    assert browser.get(link).status_code == 200
    assert browser.get(link).status_code == 200
    assert browser.post(link, data={"password": ""}).status_code == 303
    assert browser.post(link, data={"password": ""}).status_code == 404
    assert browser.get("/enter/guess").status_code == 404


def test_links_on_the_command_line(stack: Stack, browser: httpx2.Client) -> None:
    stack.cli("users", "create", "carol")
    link = stack.cli("users", "link", "carol").strip()

    assert browser.post(link.partition("8600")[2], data={"password": ""}).status_code == 303
    assert browser.get("/api/v1/me").json()["name"] == "carol"
