"""A key is a bearer token or the password of HTTP Basic; where none is needed, a foreign one is no hindrance."""

from __future__ import annotations

import base64
import json

import pytest
from websockets.sync.client import connect

from tests import loopback
from tests.stack.stack import Client, Stack

PATHS = ("/api/v1/me", "/api/v2/jobs", "/comfy/queue")


@pytest.fixture
def client(shared: Stack) -> Client:
    return shared.client("keys")


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


@pytest.mark.parametrize("path", PATHS)
def test_http_basic(shared: Stack, client: Client, path: str) -> None:
    key = client.key
    for headers in (
        basic("any one", key),
        basic("", key),
        basic(key, ""),
        basic("ä", key),
        {"Authorization": f"Basic {base64.b64encode(f'ä:{key}'.encode('latin-1')).decode()}"},
        {"Authorization": f"bearer {key}"},
    ):
        assert loopback.get(shared.url + path, headers=headers).status_code == 200, headers
    in_address = (shared.url + path).replace("://", f"://user:{key}@")
    assert loopback.get(in_address).status_code == 200

    wrong = [basic(key, "wrong"), basic("x", "cw_guess"), basic("", ""), {"Authorization": "Basic ???"}]
    for headers in [*wrong, {"Authorization": f"Basic {key}"}, {"Authorization": "Digest x"}]:
        refused = loopback.get(shared.url + path, headers=headers)
        assert refused.status_code == 401, headers
        assert refused.headers["www-authenticate"] == "Bearer"


def test_a_key_of_somebody_else_is_ignored_on_an_open_port(shared: Stack, client: Client) -> None:
    foreign = (
        {"Authorization": "Bearer sk-somebody-elses"},
        {"Authorization": "Bearer"},
        basic("artist", "studio"),
        {"X-API-Key": "comfyui-0123"},
    )
    for headers in foreign:
        assert loopback.get(f"{shared.native_url}/queue", headers=headers).status_code == 200, headers
        assert loopback.get(f"{shared.url}/comfy/queue", headers=headers).status_code == 401, headers
        elsewhere = {**headers, "Host": "evil.example"}
        assert loopback.get(f"{shared.native_url}/queue", headers=elsewhere).status_code == 401
        page = {**headers, "Origin": "https://evil.example"}
        assert loopback.get(f"{shared.native_url}/queue", headers=page).status_code == 403
    with connect(f"{shared.native_url.replace('http', 'ws')}/ws", additional_headers=foreign[0]) as socket:
        assert json.loads(socket.recv(timeout=60))["type"] == "status"

    assert loopback.get(f"{shared.native_url}/queue", headers={"X-API-Key": "cw_guess"}).status_code == 401
    data = {"Authorization": f"Bearer {client.key}"}
    loopback.post(f"{shared.native_url}/settings", json={"whose": "the account's"}, headers=data)
    assert "whose" not in loopback.get(f"{shared.native_url}/settings").json()
