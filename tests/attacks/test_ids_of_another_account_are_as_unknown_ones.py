"""Every route is called with the ids of another account: the answer is that to ids which nobody has.

By a program, by a browser, without a key, and with a revoked one. Whoever has them finds everything as it was.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests import loopback
from tests.attacks import ids_of_accounts
from tests.attacks.ids_of_accounts import PAGES, QUESTIONS, Ids, Request
from tests.stack.conftest import StartFake
from tests.stack.stack import Client, Stack
from tests.stack.web.environments import write_node_map

ROUTES = ids_of_accounts.routes_with_ids()
MOMENT = re.compile(r"\b1\d{12}\b")
OPEN_ENDED = ("/live",)  # answers as long as somebody listens
QUERIES = ("", "?q=%25&tag=%25&dir=%25", "?q=_&prefix=/&recurse=true", "?everybody=true&account={account_id}&all=1")


@dataclass(frozen=True)
class Place:
    """A server, and whose things they are."""

    stack: Stack
    owner: Client
    own_browser: httpx2.Client
    ids: tuple[Ids, Ids]


@dataclass(frozen=True)
class Asker:
    """An account with nothing of its own, which has learned all ids."""

    program: httpx2.Client
    browser: httpx2.Client


@pytest.fixture(scope="module")
def place(start_fake_once: StartFake, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder: Path = tmp_path_factory.mktemp("map")
    stack = start_fake_once(node_map_dir=write_node_map(folder), lease_s="60").wait_ready()
    owner, browser = stack.client("has things"), stack.visitor("has things")
    ids = ids_of_accounts.made(stack, owner, browser)
    return Place(stack, owner, browser, ids)


@pytest.fixture
def asker(place: Place, request: pytest.FixtureRequest) -> Asker:
    name = f"asks {zlib.crc32(request.node.name.encode())}"
    return Asker(place.stack.client(name).http, place.stack.visitor(name))


def answer_to(http: httpx2.Client, request: Request, ids: Ids) -> tuple[int, str, str]:
    """Status, type and text, with a word in the place of each id, and of each moment."""
    answer = request.sent(http)
    told = f"{answer.headers.get('location', '')} {answer.text}"
    for word, value in sorted(ids.items(), key=lambda item: -len(item[1])):
        told = told.replace(value, f"<{word}>")
    return answer.status_code, answer.headers.get("content-type", ""), MOMENT.sub("<moment>", told)


def test_the_ids_are_those_of_things(place: Place) -> None:
    """Whoever has them gets nearly all that has an address; else the scenarios below would ask for nothing."""
    ids, _ = place.ids
    asked = [(method, path) for method, path in ROUTES if method == "get"]
    found = [
        (place.own_browser if route in PAGES else place.owner.http).get(ids_of_accounts.request_of(route, ids).target)
        for route in asked
    ]

    assert sum(answer.is_success for answer in found) > 60


@pytest.mark.parametrize("which", [0, 1], ids=["of a run that ended", "of one that goes on"])
def test_another_account_gets_the_answer_to_ids_of_nobody(place: Place, asker: Asker, which: int) -> None:
    ids, before = place.ids[which], ids_of_accounts.shown_to(place.owner)
    unknown = ids_of_accounts.nobodys(ids)
    different, badly_asked = [], []
    for route in ROUTES:
        http = asker.browser if route in PAGES else asker.program
        answered = answer_to(http, ids_of_accounts.request_of(route, ids), ids)
        if answered != answer_to(http, ids_of_accounts.request_of(route, unknown), unknown):
            different.append(route)
        if answered[0] in (405, 409, 413, 415, 422):
            badly_asked.append(route)

    assert different == []
    assert badly_asked == []
    assert ids_of_accounts.shown_to(place.owner) == before


@pytest.mark.parametrize("question", QUESTIONS)
def test_ids_in_queries_and_bodies_say_nothing_either(place: Place, asker: Asker, question: str) -> None:
    http = asker.browser if question.startswith("page") else asker.program
    before = ids_of_accounts.shown_to(place.owner)
    for ids in place.ids:
        unknown = ids_of_accounts.nobodys(ids)
        answered = answer_to(http, QUESTIONS[question](ids), ids)
        assert answered == answer_to(http, QUESTIONS[question](unknown), unknown)

    assert ids_of_accounts.shown_to(place.owner) == before


@pytest.mark.parametrize("key", ["none", "revoked"])
def test_without_a_key_nothing_is_told_apart(place: Place, key: str) -> None:
    ids, before = place.ids[0], ids_of_accounts.shown_to(place.owner)
    unknown = ids_of_accounts.nobodys(ids)
    headers = {} if key == "none" else {"Authorization": f"Bearer {revoked(place)}"}
    with loopback.Client(base_url=place.stack.url, headers=headers) as http:
        different = [
            route
            for route in ROUTES
            if answer_to(http, ids_of_accounts.request_of(route, ids), ids)
            != answer_to(http, ids_of_accounts.request_of(route, unknown), unknown)
        ]

    assert different == []
    assert ids_of_accounts.shown_to(place.owner) == before


def revoked(place: Place) -> str:
    """A key of the owner's that is no longer good."""
    key_client = place.stack.client("has things")
    key_id = key_client.http.get("/api/v1/me").json()["api_key_id"]
    assert place.own_browser.post(f"/account/keys/{key_id}/revoke").status_code == 303
    return key_client.key


@pytest.mark.parametrize("query", QUERIES)
def test_no_list_has_a_thing_of_another_account(place: Place, asker: Asker, query: str) -> None:
    ids, _ = place.ids
    theirs = re.compile("|".join(re.escape(value) for word, value in ids.items() if word != "account_id"))
    telling = []
    for path in ids_of_accounts.routes_of_lists():
        if path in OPEN_ENDED or path.startswith("/metrics"):
            continue
        for http in (asker.program, asker.browser):
            if theirs.search(http.get(path + query.format(**ids)).text):
                telling.append(path)

    assert telling == []
