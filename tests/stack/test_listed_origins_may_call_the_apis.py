"""A web page of a listed origin calls every API with a key and reads the answers; no other page, and none by cookie."""

from __future__ import annotations

import httpx2
import pytest

from tests import loopback
from tests.stack.conftest import ALLOWED_ORIGIN, StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

EVIL = "https://evil.example.com"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
CALLS = (
    ("POST", "/api/v1/workflows/default/runs"),
    ("POST", "/api/v1/files"),
    ("PATCH", "/api/v1/uploads/x"),
    ("GET", "/api/v1/runs/x"),
    ("POST", "/api/v2/jobs"),
    ("GET", "/api/v2/jobs/x/events"),
    ("POST", "/comfy/prompt"),
    ("DELETE", "/comfy/userdata/x"),
    ("POST", "/workflows/default/comfy/api/prompt"),
    ("GET", "/api/v1/nothing"),
)


@pytest.fixture
def client(shared: Stack) -> Client:
    return shared.client("pages")


def allowed(answer: httpx2.Response) -> str | None:
    assert "access-control-allow-credentials" not in answer.headers
    assert len(answer.headers.get_list("access-control-allow-origin")) <= 1
    return answer.headers.get("access-control-allow-origin")


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_preflights_are_answered(shared: Stack, method: str, path: str) -> None:
    asked = {**PREFLIGHT, "Access-Control-Request-Method": method}
    for url in (shared.url + path, shared.native_url + "/prompt"):
        answer = loopback.options(url, headers={**asked, "Origin": ALLOWED_ORIGIN})
        assert answer.status_code == 204, answer.text
        assert allowed(answer) == ALLOWED_ORIGIN
        assert method in answer.headers["access-control-allow-methods"].split(", ")
        assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
        assert "Origin" in answer.headers["vary"]

        refused = loopback.options(url, headers={**asked, "Origin": EVIL})
        assert (refused.status_code, allowed(refused)) == (403, None)
        assert "COMFYWARD_CORS_ORIGINS" in refused.text


def test_answers_can_be_read_by_listed_pages_alone(client: Client) -> None:
    run = client.run(fake_save())
    output = run["output"][0]["url"]
    job = client.http.get("/api/v2/jobs").json()["jobs"][0]["id"]
    asset = client.http.get(f"/api/v2/jobs/{job}").json()["outputs"][0]["url"]
    reads = [
        ("GET", f"/api/v1/runs/{run['id']}", 200),
        ("GET", f"/api/v1/workflows/default/runs/{run['id']}/events", 200),
        ("GET", f"/api/v2/jobs/{job}/events", 200),
        ("GET", "/comfy/history", 200),
        ("GET", output, 200),
        ("GET", asset, 200),
        ("HEAD", f"/api/v2/assets/by-hash/{run['output'][0]['digest']}", 200),
        ("GET", "/api/v1/runs/nothing", 404),
        ("GET", "/api/v1/nothing", 404),
        ("PUT", "/api/v2/jobs", 405),
        ("POST", "/api/v1/workflows/default/runs", 400),
    ]
    for method, url, status in reads:
        answer = client.http.request(method, url, headers={"Origin": ALLOWED_ORIGIN})
        assert (answer.status_code, allowed(answer)) == (status, ALLOWED_ORIGIN), url
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"Retry-After", "Location", "Content-Disposition", "X-Next-Cursor", "Upload-Offset"} <= set(exposed)
        assert "Origin" in answer.headers["vary"]

        foreign = client.http.request(method, url, headers={"Origin": EVIL})
        assert allowed(foreign) in (None, "*") if url in (output, asset) else allowed(foreign) is None, url
        assert "Origin" in client.http.request(method, url).headers["vary"]


def test_refusals_can_be_read_too(shared: Stack, client: Client) -> None:
    origin = {"Origin": ALLOWED_ORIGIN}
    for path in ("/api/v1/me", "/api/v2/jobs", "/comfy/queue"):
        refused = loopback.get(shared.url + path, headers=origin)
        assert (refused.status_code, allowed(refused)) == (401, ALLOWED_ORIGIN)
    for path in ("/api/v1/workflows/default/runs", "/api/v2/jobs", "/comfy/prompt"):
        too_large = client.http.post(path, content=bytes(2 << 20), headers=origin)
        assert (too_large.status_code, allowed(too_large)) == (413, ALLOWED_ORIGIN)


def test_a_session_cookie_is_refused_from_other_sites(shared: Stack) -> None:
    visitor = shared.visitor("pages")
    assert visitor.get("/api/v1/me").status_code == 200
    for origin in (ALLOWED_ORIGIN, EVIL, "null"):
        for path in ("/api/v1/me", "/comfy/queue"):
            assert visitor.get(path, headers={"Origin": origin}).status_code == 403
        posted = visitor.post("/api/v1/workflows", json={"name": "x"}, headers={"Origin": origin})
        assert posted.status_code == 403
    page = visitor.get("/runs", headers={"Origin": ALLOWED_ORIGIN})
    assert allowed(page) is None
    assert visitor.options("/login", headers={"Origin": ALLOWED_ORIGIN, **PREFLIGHT}).status_code != 204


def test_the_open_port_serves_listed_pages_without_a_key(shared: Stack) -> None:
    answer = loopback.post(f"{shared.native_url}/prompt", json={}, headers={"Origin": ALLOWED_ORIGIN})
    assert (answer.status_code, allowed(answer)) == (400, ALLOWED_ORIGIN)
    refused = loopback.post(f"{shared.native_url}/prompt", json={}, headers={"Origin": EVIL})
    assert (refused.status_code, allowed(refused)) == (403, None)


def test_any_origin_and_none(start_fake: StartFake) -> None:
    stack = start_fake(cors_origins="*", fleet="none")
    client = stack.client()
    answer = client.http.get("/api/v1/me", headers={"Origin": EVIL})
    assert (answer.status_code, allowed(answer)) == (200, "*")
    assert allowed(loopback.options(f"{stack.url}/api/v1/me", headers={"Origin": EVIL, **PREFLIGHT})) == "*"
    visitor = stack.visitor()
    assert visitor.get("/api/v1/me", headers={"Origin": EVIL}).status_code == 403

    closed = start_fake(fleet="none").client()
    answer = closed.http.get("/api/v1/me", headers={"Origin": ALLOWED_ORIGIN})
    assert (answer.status_code, allowed(answer)) == (200, None)
    assert closed.http.options("/api/v1/me", headers={"Origin": ALLOWED_ORIGIN, **PREFLIGHT}).status_code == 403
