"""OpenID Connect: whoever the provider lets in has an account of their own, and no forged answer opens the door."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests import loopback
from tests.fakes.identity import Provider, provider
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with provider() as served:
        yield served


@pytest.fixture
def identity(running: Provider) -> Provider:
    """As it was at first."""
    fresh = Provider(running.url)
    running.user, running.tampered, running.wrong_key = fresh.user, fresh.tampered, fresh.wrong_key
    return running


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, running: Provider) -> Stack:
    client = {"oidc_client_id": "comfyward", "oidc_client_secret": "hush"}
    return start_fake_once(oidc_issuer=running.url, oidc_signup="true", **client)


def log_in(stack: Stack) -> tuple[httpx2.Client, httpx2.Response]:
    browser = loopback.Client(base_url=stack.url, follow_redirects=True, headers={"Origin": stack.url})
    return browser, browser.get("/login/oidc")


def test_the_same_user_comes_back_to_the_same_account(stack: Stack, identity: Provider) -> None:
    assert "/login/oidc" in loopback.get(f"{stack.url}/login").text

    browser, answer = log_in(stack)
    assert answer.url.path == "/workflows"
    first = browser.get("/api/v1/me").json()
    browser.close()
    identity.user["email"] = "alice.married@example.com"
    browser, _ = log_in(stack)
    second = browser.get("/api/v1/me").json()
    browser.close()

    assert (first["name"], first["role"], first["id"]) == ("alice@example.com", "member", second["id"])


@pytest.mark.parametrize(
    "tampered",
    [{"nonce": "another"}, {"aud": "another"}, {"iss": "https://evil.example"}, {"exp": int(time.time()) - 60}],
)
def test_claims_that_are_not_right_are_refused(stack: Stack, identity: Provider, tampered: dict[str, Any]) -> None:
    identity.tampered = tampered

    browser, answer = log_in(stack)

    assert answer.status_code == 403
    assert browser.get("/workflows").url.path == "/login"
    browser.close()


def test_a_token_of_somebody_elses_key_is_refused(stack: Stack, identity: Provider) -> None:
    identity.wrong_key = True

    browser, answer = log_in(stack)
    browser.close()

    assert answer.status_code == 403


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(stack: Stack) -> None:
    answer = loopback.get(f"{stack.url}/login/oidc/back", params={"code": "code", "state": "guess"})

    assert answer.status_code == 403


def test_existing_names_are_protected_and_signup_needs_an_invitation(start_fake: StartFake, identity: Provider) -> None:
    client = {"oidc_client_id": "comfyward", "oidc_client_secret": "hush", "oidc_issuer": identity.url}
    closed, opened = start_fake(**client), start_fake(**client, oidc_signup="true")
    browser, answer = log_in(closed)
    browser.close()
    assert (answer.status_code, "Ask an admin" in answer.text) == (403, True)

    opened.client("alice@example.com")
    browser, answer = log_in(opened)
    browser.close()
    assert answer.status_code == 409
