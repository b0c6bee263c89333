"""Servers that announce much, send without end or break off: the host's cache stays within its limit, and files of
other accounts find room in it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from comfyward.errors import FetchFailed, StorageFull
from comfyward.files import cache, part
from comfyward.files import fetch as fetch_module
from comfyward.files.cache import HostCache, WantedFile
from comfyward.files.fetch import Limits
from comfyward.files.guard import Guard
from comfyward.files.stop import Stop
from comfyward.runs.files import Url
from tests.fakes.http import Origin

LIMIT = 8 << 20
PIECE = b"x" * (64 << 10)


class Hostile(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with contextlib.suppress(OSError):
            match self.path.split("/")[1]:
                case "endless":
                    self._head(200, {"Transfer-Encoding": "chunked"})
                    while True:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
                case "announces":
                    size = LIMIT - 1
                    self._head(206, {"Content-Range": f"bytes 0-{size - 1}/{size}", "Content-Length": str(size)})
                case "breaks":
                    self._head(200, {"Content-Length": str(4 << 20), "ETag": '"one"'})
                    self.wfile.write(PIECE * 48)
                case "breaks-late":
                    self._part(4 << 20)
        self.close_connection = True

    def _part(self, size: int) -> None:
        """A range of a file that can go on later; every range that reaches into its last quarter breaks off."""
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1, size)
        about = {"Content-Range": f"bytes {start}-{end - 1}/{size}", "ETag": '"one"'}
        self._head(206, {**about, "Content-Length": str(end - start)})
        self.wfile.write(b"x" * (end - start if end <= size * 3 // 4 else (end - start) // 2))

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what these tests are about."""


@pytest.fixture
def hostile() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Hostile) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def host(tmp_path: Path) -> HostCache:
    return HostCache(tmp_path / "cache", LIMIT, Guard.allowing(["127.0.0.1"]), Limits(bytes=1 << 30, seconds=2))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one MiB, so that some are finished before a download breaks off."""
    for module in (part, fetch_module):
        monkeypatch.setattr(module, "PART_BYTES", 1 << 20)


def fetch(host: HostCache, url: str, account: str, progress: list[int] | None = None) -> bytes:
    pin = host.pin_folder("worker", account) / "file"
    told = [] if progress is None else progress
    wanted = WantedFile("/input/file.bin", Url(url), immutable=False)
    host.obtain(wanted, pin, lambda done, total: told.append(on_disk(pin.parents[3])), Stop())
    return pin.read_bytes()


def on_disk(folder: Path) -> int:
    """The bytes that a folder takes on the disk."""
    sizes = [0]
    for top, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes.append(Path(top, name).stat().st_blocks * 512)
    return sum(sizes)


def assert_there_is_room_for_others(host: HostCache, site: Origin) -> None:
    data = b"y" * (LIMIT - (LIMIT >> 3))
    assert fetch(host, site.put("/wanted", data), "victim") == data


def test_a_file_without_length_is_stopped_at_the_limit(host: HostCache, hostile: str, site: Origin) -> None:
    taken: list[int] = []
    with pytest.raises(StorageFull):
        fetch(host, f"{hostile}/endless", "mallory", taken)

    assert max(taken) <= LIMIT + (1 << 20)
    assert_there_is_room_for_others(host, site)


def test_an_announcement_takes_no_room(host: HostCache, hostile: str, tmp_path: Path, site: Origin) -> None:
    kept = site.put("/kept", b"kept")
    fetch(host, kept, "victim")
    host.unpin(host.pin_folder("worker", "victim"))
    for number in range(3):
        with pytest.raises(FetchFailed):
            fetch(host, f"{hostile}/announces/{number}", "mallory")

    assert on_disk(tmp_path / "cache") < 1 << 20
    assert len(host.digests()) == 1  # nothing was evicted for it
    assert_there_is_room_for_others(host, site)


def test_a_broken_download_that_cannot_go_on_takes_no_room(host: HostCache, hostile: str) -> None:
    with pytest.raises(FetchFailed):
        fetch(host, f"{hostile}/breaks", "mallory")

    assert host.size_bytes() == 0


def test_broken_downloads_count_and_go_first(
    host: HostCache, hostile: str, tmp_path: Path, site: Origin, small_parts: None
) -> None:
    for number in range(5):
        with pytest.raises(FetchFailed):
            fetch(host, f"{hostile}/breaks-late/{number}", "mallory")
        assert on_disk(tmp_path / "cache") <= LIMIT + (1 << 20)

    assert host.size_bytes() > 3 << 20
    assert_there_is_room_for_others(host, site)
    assert host.size_bytes() <= LIMIT


def test_a_broken_download_expires(host: HostCache, hostile: str, tmp_path: Path, small_parts: None) -> None:
    with pytest.raises(FetchFailed):
        fetch(host, f"{hostile}/breaks-late", "mallory")
    assert list((tmp_path / "cache" / "parts").iterdir()) != []
    yesterday = time.time() - cache.PART_LIFETIME_S - 1
    for left in (tmp_path / "cache" / "parts").iterdir():
        os.utime(left, (yesterday, yesterday))

    HostCache(tmp_path / "cache", LIMIT, Guard.allowing([]), Limits(bytes=1, seconds=1))

    assert list((tmp_path / "cache" / "parts").iterdir()) == []
