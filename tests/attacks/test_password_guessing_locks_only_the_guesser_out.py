"""Guesses at the same time share one limit; the owner's own browser still logs in, whoever guesses from wherever."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests import loopback
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

PASSWORD = "correct horse battery"
GUESSES = 120


@pytest.fixture
def stack(start_fake: StartFake) -> Stack:
    return start_fake()


@pytest.fixture
def owner(stack: Stack) -> Iterator[httpx2.Client]:
    """A browser in which the owner has set the password, and logged out again."""
    with loopback.Client(base_url=stack.url, headers={"Origin": stack.url}, timeout=60) as http:
        link = stack.login_link("ada").removeprefix(stack.url)
        assert http.post(link, data={"password": PASSWORD}).status_code == 303
        assert http.post("/logout").status_code == 303
        yield http


@pytest.mark.several_servers
def test_guesses_at_the_same_time_share_one_limit(stack: Stack, owner: httpx2.Client) -> None:
    def guess(number: int) -> int:
        answer = loopback.post(
            f"{stack.url}/login",
            data={"name": "ada", "password": f"guess number {number}"},
            headers={"Origin": stack.url},
            timeout=60,
        )
        return answer.status_code

    with ThreadPoolExecutor(30) as threads:
        answers = list(threads.map(guess, range(GUESSES)))

    assert answers.count(401) == 8  # checked
    assert answers.count(429) == GUESSES - 8
    assert guess(GUESSES) == 429
    assert owner.post("/login", data={"name": "ada", "password": PASSWORD}).status_code == 303
    wrong = [owner.post("/login", data={"name": "ada", "password": f"typo {n}"}).status_code for n in range(9)]
    assert wrong == [401] * 8 + [429]  # a browser that has logged in before has a limit too


def test_a_device_of_one_account_is_none_of_another(stack: Stack, owner: httpx2.Client) -> None:
    stack.login_link("bob")
    answers = [owner.post("/login", data={"name": "bob", "password": f"guess {n}"}).status_code for n in range(9)]

    assert answers == [401] * 8 + [429]
    with loopback.Client(base_url=stack.url, headers={"Origin": stack.url}, timeout=60) as beside:
        beside_it = beside.post("/login", data={"name": "bob", "password": "without a device"})
    assert beside_it.status_code == 429  # those guesses counted as its address's
    number, _, signature = owner.cookies["comfyward_device"].partition(".")
    for forged in (f"{number}.forged", f"another.{signature}", "another.forged"):
        owner.cookies.set("comfyward_device", forged, path="/login")
        again = owner.post("/login", data={"name": "bob", "password": "one more"})
        assert again.status_code == 429, forged
