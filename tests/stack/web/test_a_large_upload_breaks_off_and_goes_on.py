"""Uploads in pieces (tus 1.0.0): what has come stays, over a broken connection and a restarted server."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Route
from sqlalchemy import Connection

from comfyward.store import accounts, uploads
from tests.stack.conftest import UPLOAD_LIMIT_BYTES, StartFake
from tests.stack.stack import Client, Stack
from tests.stack.web.conftest import Enter

DATA = os.urandom(300_000)
PREFIX = "/api/v1/uploads"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once()


def begin(http: httpx2.Client, path: str = "/input/large.bin", size: int = len(DATA)) -> httpx2.Response:
    named = base64.b64encode(path.encode()).decode()
    return http.post(PREFIX, headers={"Upload-Length": str(size), "Upload-Metadata": f"path {named}"})


def append(http: httpx2.Client, address: str, offset: int, data: bytes) -> httpx2.Response:
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return http.patch(address, content=data, headers=headers)


@pytest.mark.several_servers
def test_an_upload_resumes_after_the_server_was_killed(stack: Stack) -> None:
    http = stack.client("breaks off").http
    address = begin(http).headers["location"]
    assert append(http, address, 0, DATA[:100_000]).status_code == 204

    stack.kill()
    stack.start()

    standing = http.head(address)
    assert (standing.headers["upload-offset"], standing.headers["upload-length"]) == ("100000", "300000")
    assert append(http, address, 0, DATA).status_code == 409
    assert append(http, address, 100_000, DATA[100_000:]).headers["upload-offset"] == "300000"
    [file] = http.get("/api/v1/files").json()
    assert (file["path"], file["size"]) == ("/input/large.bin", 300_000)
    assert http.head(address).status_code == 404
    assert [path for path in (stack.data_dir / "objects" / "uploads").rglob("*") if path.is_file()] == []


def test_a_complete_upload_is_stored_after_the_server_was_killed(stack: Stack) -> None:
    http = stack.client().http
    address = begin(http).headers["location"]
    append(http, address, 0, DATA[:-1])
    stack.kill()
    stack.write(_as_if_whole, address.rpartition("/")[2])  # the last byte came, and nothing else was done
    piece = stack.data_dir / "objects" / "uploads" / "last"
    piece.write_bytes(DATA[-1:])
    stack.start()

    assert http.head(address).headers["upload-offset"] == "300000"
    assert http.get("/api/v1/files").json()[0]["size"] == 300_000
    assert http.head(address).status_code == 404


def _as_if_whole(conn: Connection, upload_id: str) -> None:
    account = accounts.admin(conn)
    upload = uploads.get(conn, account.id, upload_id)
    assert uploads.grow(conn, upload, "uploads/last", 1) is not None


def test_invalid_uploads_are_refused(shared: Stack, tenant: Client) -> None:
    http, other = tenant.http, shared.client("other").http

    assert begin(http, size=UPLOAD_LIMIT_BYTES + 1).status_code == 413
    assert begin(http, "/etc/passwd", 5).status_code == 400
    assert http.post(PREFIX, headers={"Upload-Length": "x"}).status_code == 400
    assert http.post(PREFIX, headers={"Upload-Length": "5", "Upload-Metadata": "path !"}).status_code == 400
    address = begin(http, size=5).headers["location"]
    assert append(http, address, 0, b"too many").status_code == 413
    assert other.head(address).status_code == 404
    assert append(other, address, 0, b"12345").status_code == 404
    assert other.delete(address).status_code == 404
    assert http.delete(address).status_code == 204
    assert http.head(address).status_code == 404
    assert begin(http, "/input/empty", 0).status_code == 201
    assert http.get("/api/v1/files").json()[0]["size"] == 0
    assert http.options(PREFIX).headers["tus-max-size"] == str(UPLOAD_LIMIT_BYTES)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(DATA)
    return path


@pytest.mark.several_servers
def test_a_browser_resumes_by_itself(stack: Stack, enter: Enter, account: str, picture: Path) -> None:
    page = enter(stack, account)
    page.goto("/files")
    broken: list[str] = []

    def break_the_first(route: Route) -> None:
        if route.request.method == "PATCH" and not broken:
            broken.append(route.request.url)
            return route.fulfill(status=503)
        return route.continue_()

    page.route("**/api/v1/uploads/*", break_the_first)
    page.locator("[data-upload-drop] input[type=file]").set_input_files(picture)

    page.locator("#files tr", has_text="/input/large.bin").wait_for()
    assert len(broken) == 1
    assert "300 KB" in page.locator("#files tr", has_text="/input/large.bin").inner_text()
