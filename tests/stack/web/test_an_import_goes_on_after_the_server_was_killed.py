"""A file that the server is fetching when it is killed is fetched all the same, and one that is stopped is not."""

from __future__ import annotations

import threading

import pytest

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.waiting import until

pytestmark = pytest.mark.several_servers


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once()


DATA = b"\1" * 100_000


def test_an_import_survives(stack: Stack, account: str, site: Origin) -> None:
    http, hold = stack.client(account).http, threading.Event()
    url = site.put("/style.pt", DATA, hold=hold)
    asked = {"path": "/models/loras/style.pt", "url": url}

    assert http.post("/api/v1/imports", json=asked).status_code == 202
    assert site.asked.get(timeout=120) == "/style.pt"
    [waiting] = http.get("/api/v1/imports").json()
    assert (waiting["state"], waiting["path"]) == ("waiting", "/models/loras/style.pt")
    stack.kill()
    hold.set()
    stack.start()

    until(lambda left: left == [], lambda: http.get("/api/v1/imports").json())
    [file] = http.get("/api/v1/files").json()
    assert (file["path"], file["size"]) == ("/models/loras/style.pt", len(DATA))
    assert "style.pt" in http.get("/api/v1/models").json()["loras"]


def test_an_import_is_stopped(stack: Stack, account: str, site: Origin) -> None:
    http, other, hold = stack.client(account).http, stack.client(f"{account}-friend").http, threading.Event()
    url = site.put("/style.pt", DATA, hold=hold)
    made = http.post("/api/v1/imports", json={"path": "/models/loras/style.pt", "url": url}).json()["id"]
    site.asked.get(timeout=120)

    assert other.delete(f"/api/v1/imports/{made}").status_code == 404
    assert other.get("/api/v1/imports").json() == []
    assert http.delete(f"/api/v1/imports/{made}").status_code == 204
    hold.set()

    assert http.get("/api/v1/imports").json() == []
    assert stack.stop() == 0
    stack.start()
    assert http.get("/api/v1/files").json() == []
    for wrong in ({"path": "/etc/x", "url": url}, {"path": "/models/loras/a", "url": "data:,x"}, {"path": "/input/a"}):
        assert http.post("/api/v1/imports", json=wrong).status_code == 400
