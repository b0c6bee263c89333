"""Hosts that trickle, stall or keep silent, in any part of an answer: every wait has an end, and says why."""

import re
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from comfyward.errors import FetchFailed, HostSlow
from comfyward.files.cache import HostCache, WantedFile
from comfyward.files.digest import digests_of
from comfyward.files.fetch import Fetch, Limits
from comfyward.files.guard import Guard
from comfyward.files.pace import LeastSpeed
from comfyward.files.part import PART_BYTES, Fetched
from comfyward.files.remote_file import MAX_ATTEMPTS, RemoteFile
from comfyward.files.stop import Stop, Stopped
from comfyward.runs.files import Url
from tests.fakes.http import Faucet, Origin, faucet
from tests.looks import looks

LOCAL = Guard.allowing(["127.0.0.1"])
FAST = LeastSpeed(1 << 20, 0.05)
STEADY = LeastSpeed(1 << 20, 1)  # which a busy machine keeps up
CONNECTIONS = 4
OPEN_END = b"HTTP/1.1 200 OK\r\n\r\n"  # the body lasts until the connection ends

Download = Callable[..., Fetched | None]


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "part"


@pytest.fixture
def fetch(part: Path, monkeypatch: pytest.MonkeyPatch) -> Download:
    monkeypatch.setattr("comfyward.files.remote_file.BACKOFF_S", 0.001)

    def download(
        url: str, *, seconds: float = 60, least: LeastSpeed = FAST, stop: Stop | None = None, **options: Any
    ) -> Fetched | None:
        limits = Limits(1 << 30, seconds, CONNECTIONS, least)
        return Fetch(RemoteFile(Url(url), LOCAL, seconds, stop or Stop(), least), part, limits, **options).run()

    return download


@pytest.mark.parametrize("ranges", [True, False])
def test_a_host_that_trickles_is_too_slow(site: Origin, fetch: Download, part: Path, ranges: bool) -> None:
    url = site.put("/file", bytes(1 << 20), dry=threading.Event(), ranges=ranges)

    with pytest.raises(HostSlow) as slow:
        fetch(url, least=STEADY)

    said = r"'127\.0\.0\.1' sent \d+ bytes/s in 1 s, which is too slow: a file must arrive with 1024 KiB/s at least\."
    assert re.fullmatch(said, slow.value.message)
    assert 0 < slow.value.details["bytes_per_s"] < 1 << 20
    assert len(site.requests) == 1, "it was not asked again"
    assert list(part.parent.iterdir()) == [], "its space is free"


def test_a_host_that_stops_in_the_middle_is_too_slow(site: Origin, fetch: Download) -> None:
    dry = threading.Event()
    dry.set()

    with pytest.raises(HostSlow, match="sent 0 bytes/s"):
        fetch(site.put("/file", b"xyz", dry=dry))


def test_slow_ranges_end_together_and_finished_parts_are_kept(site: Origin, fetch: Download, part: Path) -> None:
    data = bytes(PART_BYTES * (CONNECTIONS + 2))  # so some are asked for later
    url = site.put("/file", data, dry=threading.Event(), dry_from=CONNECTIONS * PART_BYTES)

    with pytest.raises(HostSlow):
        fetch(url, least=STEADY)

    site.put("/file", data)
    seen: list[int] = []
    assert fetch(url, progress=lambda done, total: seen.append(done), least=LeastSpeed(1 << 20, 60)) is not None
    assert seen[0] >= PART_BYTES
    assert part.read_bytes() == data


def test_a_short_file_may_be_slow_within_the_window(site: Origin, fetch: Download) -> None:
    url = site.put("/file", b"short", dry=threading.Event())
    assert fetch(url, least=LeastSpeed(1 << 20, 60)) is not None


def test_a_host_that_stalls_is_asked_again(
    site: Origin, fetch: Download, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfyward.files.wire.READ_TIMEOUT_S", 0.5)
    dry = threading.Event()
    dry.set()
    url = site.put("/file", b"there", dry=dry)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(fetch, url, least=LeastSpeed(1 << 20, 60))
        site.asked.get(timeout=60)
        site.put("/file", b"there")

        assert fetching.result() is not None
    assert part.read_bytes() == b"there"


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b""),
        (b"HTTP/1.1", b" "),
        (b"HTTP/1.1 200 OK\r\nX-Drip: ", b"."),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silent", "status", "headers", "interim"],
)
def test_headers_that_do_not_end_have_a_deadline(
    fetch: Download, monkeypatch: pytest.MonkeyPatch, first: bytes, drop: bytes
) -> None:
    monkeypatch.setattr("comfyward.files.remote_file.ANSWER_TIMEOUT_S", 0.3)
    with faucet(first, drop) as server:
        with pytest.raises(FetchFailed, match=r"Cannot fetch from '127.0.0.1': it did not answer in time\."):
            fetch(server.url)
        assert tries(server) == MAX_ATTEMPTS


def tries(server: Faucet) -> int:
    """The number of its connections, once it has taken the last one: whoever made that has hung up, maybe before."""
    for _ in looks(60):
        if server.opened >= MAX_ATTEMPTS:
            break
    return server.opened


def test_redirects_share_one_deadline(site: Origin, fetch: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyward.files.remote_file.ANSWER_TIMEOUT_S", 0.2)
    url = site.put("/file", b"", status=302, headers={"Location": "/file"}, hold=Late())

    with pytest.raises(FetchFailed, match="did not answer in time"):
        fetch(url)


class Late(threading.Event):
    """Is never set, and waited for in vain, but not for long."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0.03)


def test_a_tls_handshake_has_a_deadline(fetch: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyward.files.remote_file.ANSWER_TIMEOUT_S", 0.3)
    with faucet(b"", b"") as server:
        with pytest.raises(FetchFailed, match="timed out"):
            fetch(server.url.replace("http:", "https:"))
        assert tries(server) == MAX_ATTEMPTS


def test_a_tls_handshake_can_be_stopped(fetch: Download) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        stop = Stop()
        fetching = pool.submit(fetch, f"https://127.0.0.1:{server.getsockname()[1]}/", stop=stop)
        opened, _ = server.accept()
        with opened:
            assert opened.recv(1)  # the first byte of the client's hello
            stop.set()
            with pytest.raises(Stopped):
                fetching.result(60)


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_body_cut_at_the_time_limit_is_no_whole_file(fetch: Download, part: Path, body: bytes) -> None:
    """Its end is the connection's end, which the time limit brings about."""
    with faucet(OPEN_END + body, b"") as server, pytest.raises(FetchFailed, match="longer than"):
        fetch(server.url, seconds=1, least=LeastSpeed(1, 60))
    assert not part.exists()


def test_a_body_cut_by_stopping_is_no_whole_file(fetch: Download, part: Path) -> None:
    stop = Stop()
    with faucet(OPEN_END, b"x") as server, ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(fetch, server.url, stop=stop, least=LeastSpeed(1, 60))
        server.dripped.get(timeout=60)
        stop.set()
        with pytest.raises(Stopped):
            fetching.result(60)
    assert not part.exists()


def test_all_addresses_of_a_host_share_the_time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"1.1.1.{each}", 80)) for each in range(100)]

    def time_out(family: int, kind: int, protocol: int, target: Any, timeout_s: float) -> socket.socket:
        given.append(timeout_s)
        clock.append(clock[-1] + timeout_s)
        raise TimeoutError("timed out")

    clock = [1000.0]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    monkeypatch.setattr("comfyward.files.guard.time.monotonic", lambda: clock[-1])
    monkeypatch.setattr("comfyward.files.guard._open", time_out)

    with pytest.raises(FetchFailed, match=r"Cannot connect to 'example\.com': timed out"):
        Guard().connect("example.com", 80, 20)

    assert len(given) == 100
    assert sum(given) == pytest.approx(20)


def test_our_own_server_may_be_slow(site: Origin, tmp_path: Path) -> None:
    cache = HostCache(tmp_path, 1 << 30, LOCAL, Limits(1 << 30, 60, 4, LeastSpeed(1 << 20, 0.001)))
    source, pin = Url(site.put("/file", b"from our own", dry=threading.Event())), cache.pin_folder("w", "l") / "file"

    with pytest.raises(HostSlow):
        cache.obtain(WantedFile("/input/a", source, immutable=False), pin, lambda done, total: None, Stop())
    own = WantedFile("/input/a", source, immutable=False, is_our_own=True)
    assert cache.obtain(own, pin, lambda done, total: None, Stop()).digest == digests_of(b"from our own")[0]
