"""An open native port serves its own machine as the admin, and nobody else: not another host, not a foreign page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests import loopback
from tests.stack.stack import Client, Stack


def test_this_machine_needs_no_key(real: Stack) -> None:
    with loopback.Client(base_url=real.native_url) as http:
        assert http.get("/queue").status_code == 200
        assert http.get("/api/queue").status_code == 200
        assert http.get("/queue", headers={"X-API-Key": "cw_guess"}).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 401),
        ({"Host": "192.168.0.9:8188"}, 401),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_foreign_name_or_page_is_refused(real: Stack, headers: dict[str, str], status: int) -> None:
    answer = loopback.post(f"{real.native_url}/prompt", content=b"{}", headers=headers)

    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_foreign_pages_websocket_is_closed(real: Stack) -> None:
    url = f"{real.native_url.replace('http', 'ws')}/ws?clientId=x"
    foreign = {"Origin": "https://evil.example"}
    with connect(url, additional_headers=foreign) as socket, pytest.raises(ConnectionClosed):
        socket.recv(timeout=60)
    with connect(url) as socket:
        assert json.loads(socket.recv(timeout=60))["type"] == "status"


def test_a_session_acts_for_pages_of_its_own_site_only(real: Stack, client: Client) -> None:
    with loopback.Client(base_url=real.url) as browser:
        entered = browser.post("/comfy/", params={"token": client.key})
        assert (entered.status_code, entered.headers["location"]) == (303, "/comfy/")
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        assert client.key not in cookie
        assert browser.get("/comfy/queue").status_code == 200
        assert browser.post("/comfy/queue", json={}, headers={"Origin": real.url}).status_code == 200
        assert browser.post("/comfy/queue", json={}, headers={"Origin": "https://evil.example"}).status_code == 403

        key_id = client.http.get("/api/v1/me").json()["api_key_id"]
        real.cli("keys", "revoke", key_id)
        assert browser.get("/comfy/queue").status_code == 401


def test_an_open_port_for_everybody_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "comfyward", "serve", "--fleet", "none", "--data-dir", str(tmp_path)]
    options = ("--host", "0.0.0.0", "--port", "0", "--native-port", "0", "--native-open")

    done = subprocess.run(
        [*command, *options], env={"PATH": "", "COMFYWARD_EDITOR": "false"}, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 1
    assert "cannot be open without a key" in done.stderr
