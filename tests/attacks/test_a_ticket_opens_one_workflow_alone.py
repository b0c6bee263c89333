"""At the editor's origin only a ticket counts, for one workflow, as long as the session; the website is not there."""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from comfyward.api.tickets import Tickets
from comfyward.store import accounts
from comfyward.store.db import now_ms
from tests import loopback
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

HOST = "127.0.0.1"
PAGES = (
    "/workflows",
    "/login",
    "/account",
    "/account/keys",
    "/fleet",
    "/files",
    "/static/site.css",
    "/docs",
    "/metrics",
)
APIS = (
    "/api/v1/me",
    "/api/v2/jobs",
    "/comfy/queue",
    "/comfy/api/queue",
    "/worker/v1/hello",
    "/fleet/v1/hello",
    "/healthz",
)


@dataclass(frozen=True)
class Owner:
    """A person with two workflows, whose browser shows the editor of the first."""

    client: Client
    browser: httpx2.Client
    first: str
    second: str
    path: str


@pytest.fixture
def owner(shared: Stack, tenant: Client) -> Owner:
    name = tenant.http.get("/api/v1/me").json()["name"]
    first, second = (tenant.http.post("/api/v1/workflows", json={"name": each}).json()["id"] for each in "ab")
    browser = shared.visitor(name)
    return Owner(tenant, browser, first, second, framed(browser, first))


def framed(browser: httpx2.Client, workflow: str) -> str:
    """The path of the frame at the editor's origin."""
    address = urlsplit(browser.get(f"/workflows/{workflow}/frame").json()["address"])
    assert (address.hostname or "").endswith(".editor.localhost")
    return address.path.rstrip("/")


@pytest.fixture
def editor(shared: Stack) -> Iterator[httpx2.Client]:
    host = urlsplit(shared.editor_url).netloc
    with loopback.Client(base_url=shared.url, headers={"Host": host, "Origin": shared.editor_url}) as client:
        yield client


def test_a_ticket_opens_its_workflow(owner: Owner, editor: httpx2.Client) -> None:
    for route in ("/api/queue", "/queue", "/api/object_info", "/api/settings", "/api/history", "/api/users"):
        assert editor.get(f"{owner.path}{route}").status_code == 200, route
    done = editor.post(f"{owner.path}/api/prompt", json={"prompt": fake_save()})
    assert done.status_code == 200
    assert owner.client.finish(owner.client.http.get("/api/v1/runs").json()[0]["id"])["workflow_id"] == owner.first


def test_it_opens_no_other_workflow(owner: Owner, editor: httpx2.Client) -> None:
    run = owner.client.finish(owner.client.post_run({"prompt": fake_save()}, owner.second).json()["id"])
    name = run["output"][0]["filename"].rpartition("/")[2]
    prompt = run["prompt_id"]
    for place in (owner.path.replace(owner.first, owner.second), owner.path.replace(owner.first, "default")):
        assert editor.get(f"{place}/api/queue").status_code == 403
        assert editor.post(f"{place}/api/prompt", json={"prompt": fake_save()}).status_code == 403
    assert editor.get(f"{owner.path}/api/history").json() == {}
    assert editor.get(f"{owner.path}/api/history/{prompt}").json() == {}
    assert editor.get(f"{owner.path}/api/jobs").json()["jobs"] == []
    # Results have names that can be guessed.
    assert owner.client.http.get("/comfy/view", params={"filename": name}).status_code == 200
    for subfolder in ("", run["id"]):
        shown = editor.get(f"{owner.path}/api/view", params={"filename": name, "subfolder": subfolder})
        assert shown.status_code == 404, subfolder


def test_there_is_no_website_and_no_other_api(owner: Owner, editor: httpx2.Client) -> None:
    cookie, key = "; ".join(f"{name}={value}" for name, value in owner.browser.cookies.items()), owner.client.key
    assert "comfyward_session" in cookie
    for path in (*PAGES, *APIS, f"/workflows/{owner.first}", f"/workflows/{owner.first}/edit"):
        for headers in ({}, {"Cookie": cookie}, {"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
            answer = editor.get(path, headers=headers)
            assert (answer.status_code, "editor alone" in answer.text) == (404, True), path
    # Nor does a session or a key open a workflow there.
    for headers in ({"Cookie": cookie}, {"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        for place, refused in ((f"/workflows/{owner.first}/comfy", 404), (f"/workflows/{owner.first}/x/comfy", 403)):
            assert editor.get(f"{place}/api/queue", params={"token": key}, headers=headers).status_code == refused
    assert editor.post(f"{owner.path}/", params={"token": key}).status_code == 405
    for route in ("/api/assets", "/api/etn/model_info"):
        assert editor.get(f"{owner.path}{route}").status_code == 404, route


def test_a_ticket_is_worth_nothing_elsewhere(owner: Owner, shared: Stack) -> None:
    assert loopback.get(f"{shared.url}{owner.path}/api/queue").status_code == 404
    ticket = owner.path.split("/")[3]
    for headers in ({"Authorization": f"Bearer {ticket}"}, {"X-API-Key": ticket}):
        assert loopback.get(f"{shared.url}/comfy/queue", headers=headers).status_code == 401


def test_it_ends_with_the_session(owner: Owner, editor: httpx2.Client) -> None:
    assert editor.get(f"{owner.path}/api/queue").status_code == 200
    assert owner.browser.post("/logout").status_code == 303
    ended = editor.get(f"{owner.path}/api/queue")
    assert (ended.status_code, "has expired" in ended.text) == (401, True)


def test_it_ends_with_its_time(owner: Owner, editor: httpx2.Client, shared: Stack) -> None:
    """One as the server writes it, with its secret."""
    tickets, text = Tickets(str(shared.write(accounts.secret, "links"))), owner.path.split("/")[3]
    ticket = tickets.read(text, owner.first)

    def answer(expires_at: int) -> int:
        path = owner.path.replace(text, tickets.write(replace(ticket, expires_at=expires_at)))
        return editor.get(f"{path}/api/queue").status_code

    assert (answer(now_ms() - 1), answer(now_ms() + 3_600_000)) == (401, 200)


def test_answers_allow_no_other_origin_and_set_no_cookie(owner: Owner, editor: httpx2.Client) -> None:
    for path in ("/", "/nothing", f"{owner.path}/", f"{owner.path}/api/queue", f"{owner.path}/user.css"):
        answer = editor.get(path)
        rules = dict(each.partition(" ")[::2] for each in answer.headers["content-security-policy"].split("; "))
        assert "access-control-allow-origin" not in answer.headers, path
        assert "set-cookie" not in answer.headers, path
        assert (rules["default-src"], rules["connect-src"]) == ("'none'", "'self' data: blob:"), path
        assert "unsafe" not in rules["script-src"].replace("'wasm-unsafe-eval'", ""), path
    for origin in ("https://evil.example", "null", "http://editor.localhost:1"):
        for method in ("GET", "POST"):
            answer = editor.request(method, f"{owner.path}/api/queue", headers={"Origin": origin})
            assert answer.status_code == 403, (method, origin)
        asked = editor.options(
            f"{owner.path}/api/queue", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
        )
        assert "access-control-allow-origin" not in asked.headers


def test_the_editors_page_is_for_a_frame_of_the_website_alone(
    owner: Owner, editor: httpx2.Client, shared: Stack
) -> None:
    assert editor.get(f"{owner.path}/", headers={"Sec-Fetch-Dest": "document"}).status_code == 403
    page = owner.browser.get(f"/workflows/{owner.first}/edit")
    rules = page.headers["content-security-policy"]
    of_all = re.escape(shared.editor_url.removeprefix("http://"))
    assert re.search(rf"frame-src http://[0-9a-f]{{20}}\.{of_all}(;|$)", rules)


def test_a_websocket_is_for_its_workflow_and_its_origin(owner: Owner, shared: Stack) -> None:
    address = f"{shared.editor_url}{owner.path}".replace("http", "ws", 1)

    def opened(url: str, origin: str) -> str:
        """What the first message says, or how the server hangs up."""
        with socket.create_connection((HOST, shared_port)) as to, connect(url, origin=Origin(origin), sock=to) as ws:
            try:
                return str(ws.recv(timeout=120))
            except ConnectionClosed as closed:
                return str(closed)

    shared_port = urlsplit(shared.url).port
    assert "status" in opened(f"{address}/ws?clientId=x", shared.editor_url)
    for url, origin in [
        (f"{address}/ws", shared.url),
        (f"{address}/ws", "https://evil.example"),
        (f"{address}/ws".replace(owner.first, owner.second), shared.editor_url),
    ]:
        assert "4401" in opened(url, origin)
    with pytest.raises(InvalidStatus):
        opened(f"{shared.editor_url}/comfy/ws?token={owner.client.key}".replace("http", "ws", 1), shared.editor_url)
