"""The downloader against a real server with faults: ranges, breaks, redirects, lengths, limits."""

import contextlib
import gzip
import random
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import brotli
import pytest
from backports import zstd

from comfyward.errors import FetchFailed, FetchRefused, HostBusy, TooLarge
from comfyward.files.digest import digests_of
from comfyward.files.encoding import decoded
from comfyward.files.fetch import Fetch, Limits
from comfyward.files.guard import Guard
from comfyward.files.part import PART_BYTES, Fetched, Validators
from comfyward.files.remote_file import RemoteFile
from comfyward.files.stop import Stop, Stopped
from comfyward.runs.files import Url
from tests.fakes.http import Origin

LIMITS = Limits(bytes=1 << 30, seconds=60, connections=4)
BIG = bytes(range(251)) * (PART_BYTES * 5 // 2 // 251)  # two parts and a half

Download = Callable[..., Fetched | None]


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Download:
    monkeypatch.setattr("comfyward.files.remote_file.BACKOFF_S", 0.001)

    def download(
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        guard: Guard | None = None,
        limits: Limits = LIMITS,
        stop: Stop | None = None,
        known: Validators | None = None,
        **options: Any,
    ) -> Fetched | None:
        source = Url(url, headers=tuple((headers or {}).items()))
        remote = RemoteFile(source, guard or Guard.allowing(["127.0.0.1"]), limits.seconds, stop or Stop())
        return Fetch(remote, tmp_path / "part", limits, **options).run(known)

    return download


def check(fetched: Fetched | None, path: Path, data: bytes) -> None:
    assert fetched is not None
    assert path.read_bytes() == data
    assert (fetched.size, fetched.blake3, fetched.sha256) == (len(data), *digests_of(data))
    assert not path.with_name("part.json").exists()


@pytest.mark.parametrize("data", [b"", b"x", BIG[:PART_BYTES], BIG[: PART_BYTES + 1], BIG])
@pytest.mark.parametrize("ranges", [True, False])
def test_files_of_any_size_arrive_whole_and_hashed(
    site: Origin, fetch: Download, tmp_path: Path, data: bytes, ranges: bool
) -> None:
    url = site.put("/file", data, ranges=ranges)
    progress: list[tuple[int, int | None]] = []

    fetched = fetch(url, progress=lambda done, total: progress.append((done, total)))

    check(fetched, tmp_path / "part", data)
    if data:
        assert progress[-1] == (len(data), len(data))


def test_a_broken_connection_is_resumed(site: Origin, fetch: Download, tmp_path: Path) -> None:
    url = site.put("/file", BIG, break_after=PART_BYTES // 3, breaks=3)

    check(fetch(url), tmp_path / "part", BIG)


def test_a_retry_resumes_where_the_first_try_stopped(site: Origin, fetch: Download, tmp_path: Path) -> None:
    url = site.put("/file", BIG)
    stop = Stop()

    def stop_after_the_first_part(done: int, total: int | None) -> None:
        if done > PART_BYTES:
            stop.set()

    with pytest.raises(Stopped):
        fetch(url, stop=stop, progress=stop_after_the_first_part, limits=Limits(1 << 30, 60, connections=1))
    before = len(site.requests)
    check(fetch(url), tmp_path / "part", BIG)

    ranges = [request.headers["Range"] for request in site.requests[before + 1 :]]
    assert f"bytes=0-{PART_BYTES - 1}" not in ranges, "the finished part was not fetched again"


def test_a_file_that_changed_meanwhile_restarts(site: Origin, fetch: Download, tmp_path: Path) -> None:
    url = site.put("/file", BIG, break_after=10, breaks=99)
    with pytest.raises(FetchFailed):
        fetch(url)
    changed = BIG[::-1]
    site.put("/file", changed)

    check(fetch(url), tmp_path / "part", changed)


@pytest.mark.parametrize(
    "headers", [{}, {"ETag": 'W/"weak"'}, {"ETag": '"first"'}, {"Last-Modified": "Sat, 28 Nov 2026 08:00:00 GMT"}]
)
def test_a_file_that_is_replaced_during_its_download_is_not_mixed_with_the_other(
    site: Origin, fetch: Download, tmp_path: Path, headers: dict[str, str]
) -> None:
    url, other = site.put("/file", BIG, has_etag=False, headers=headers), BIG[::-1]
    later = {name: value.replace("first", "second").replace("08:", "09:") for name, value in headers.items()}

    def replace_it(done: int, total: int | None) -> None:
        if site.files["/file"].data is BIG:
            site.put("/file", other, has_etag=False, headers=later)

    fetched = fetch(url, progress=replace_it)

    check(fetched, tmp_path / "part", (tmp_path / "part").read_bytes())
    assert (tmp_path / "part").read_bytes() in (BIG, other), "a mixture of two files"


def test_a_file_without_a_validator_that_breaks_off_is_fetched_anew(
    site: Origin, fetch: Download, tmp_path: Path
) -> None:
    url = site.put("/file", BIG, has_etag=False, break_after=PART_BYTES * 2, breaks=2)

    check(fetch(url), tmp_path / "part", BIG)


def test_an_unchanged_file_is_not_sent_again(site: Origin, fetch: Download) -> None:
    url = site.put("/file", b"same")
    first = fetch(url)
    assert first is not None

    assert fetch(url, known=first.validators) is None
    site.put("/file", b"other")
    again = fetch(url, known=first.validators)
    assert again is not None
    assert again.blake3 == digests_of(b"other")[0]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(site: Origin, fetch: Download, status: int) -> None:
    with pytest.raises(FetchFailed, match=str(status)):
        fetch(site.put("/file", b"", status=status))
    assert len(site.requests) == 1


def test_a_busy_server_is_retried(site: Origin, fetch: Download) -> None:
    with pytest.raises(FetchFailed, match="503"):
        fetch(site.put("/file", b"", status=503))
    assert len(site.requests) > 1


def test_redirects_have_a_limit_and_a_scheme(site: Origin, fetch: Download, tmp_path: Path) -> None:
    site.put("/target", b"there")
    url = site.put("/once", b"", status=302, headers={"Location": "/target"})
    check(fetch(url), tmp_path / "part", b"there")

    url = site.put("/loop", b"", status=302, headers={"Location": "/loop"})
    with pytest.raises(FetchFailed, match="redirects more than"):
        fetch(url)
    url = site.put("/file", b"", status=302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(FetchFailed, match="not http"):
        fetch(url)


def test_a_redirect_into_the_private_network_is_refused(site: Origin, fetch: Download) -> None:
    url = site.put("/evil", b"", status=302, headers={"Location": "http://127.0.0.2:1/secret"})
    with pytest.raises(FetchRefused):
        fetch(url)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_over_the_limit_is_refused(site: Origin, fetch: Download, ranges: bool) -> None:
    url = site.put("/file", b"x" * 101, ranges=ranges)
    with pytest.raises(TooLarge):
        fetch(url, limits=Limits(bytes=100, seconds=10))


def test_a_download_has_a_time_limit(site: Origin, fetch: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyward.files.remote_file.BACKOFF_S", 0.3)
    url = site.put("/file", b"", status=503)
    with pytest.raises(FetchFailed, match="longer than"):
        fetch(url, limits=Limits(bytes=100, seconds=0.2))


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]) + b"\0" * 5  # as tar leaves it


def bare_deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzipped,
    "X-GZIP": gzip.compress,
    "deflate": zlib.compress,
    "Deflate ": bare_deflated,
    "br": lambda data: brotli_fast(data),
    "zstd": lambda data: zstd.compress(data[:100]) + zstd.compress(data[100:]),
    "gzip, br": lambda data: brotli_fast(gzip.compress(data)),
    "identity": bytes,
    "": bytes,
    "aws-chunked": bytes,
    "utf-8": bytes,
    "aws-chunked, gzip": gzip.compress,
}
NOISE = random.Random(5).randbytes(300_000) + bytes(1_200_000)


@pytest.mark.parametrize("coding", ENCODERS)
@pytest.mark.parametrize("data", [b"", b"x", NOISE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("ranges", [True, False])
def test_encoded_bytes_are_decoded(
    site: Origin, fetch: Download, tmp_path: Path, coding: str, data: bytes, ranges: bool
) -> None:
    url = site.put("/file", ENCODERS[coding](data), headers={"Content-Encoding": coding}, ranges=ranges)

    check(fetch(url), tmp_path / "part", data)
    assert site.requests[0].headers["Accept-Encoding"] == "identity"


def test_no_bytes_are_an_empty_file_in_any_encoding(site: Origin, fetch: Download, tmp_path: Path) -> None:
    check(fetch(site.put("/file", b"", headers={"Content-Encoding": "gzip"})), tmp_path / "part", b"")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip, gzip"])
def test_a_decompression_bomb_is_refused_at_the_limit(site: Origin, fetch: Download, coding: str) -> None:
    bomb = bytes(64 << 20)
    for each in coding.split(", "):
        bomb = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli_fast, "zstd": zstd.compress}[each](bomb)
    url = site.put("/file", bomb, headers={"Content-Encoding": coding})
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            fetch(url, limits=Limits(bytes=4 << 20, seconds=60))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_are_found_at_any_chunk_size(coding: str) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstd.compress}[coding]
    data = b"".join(map(pack, (b"a", b"b", b"c")))
    for size in range(1, len(data) + 1):
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        read = decoded([coding], lambda _, pieces=pieces: pieces.pop(0) if pieces else b"", lambda: None)
        assert b"".join(iter(lambda read=read: read(100), b"")) == b"abc"


@pytest.mark.parametrize("layers", [1, 3])
def test_empty_encoded_members_count_against_the_time_limit(site: Origin, fetch: Download, layers: int) -> None:
    nothing = gzip.compress(b"") * 200_000
    for _ in range(layers - 1):
        nothing = gzip.compress(nothing) * 10
    url = site.put("/file", nothing, headers={"Content-Encoding": ", ".join(["gzip"] * layers)})
    with pytest.raises(FetchFailed, match="longer than"):
        fetch(url, limits=Limits(bytes=1 << 30, seconds=0.1))


def test_the_time_limit_is_looked_at_between_empty_encoded_members() -> None:
    members, looks = [gzip.compress(b"")] * 1000, 0

    def look() -> None:
        nonlocal looks
        looks += 1

    read = decoded(["gzip"], lambda _: members.pop() if members else b"", look)

    assert read(100) == b""
    assert looks >= 1000


def brotli_fast(data: bytes) -> bytes:
    return brotli.compress(data, quality=3)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_truncated_encodings_are_refused(site: Origin, fetch: Download, coding: str) -> None:
    data = ENCODERS[coding](NOISE[:100_000])
    url = site.put("/file", data[: len(data) // 4], headers={"Content-Encoding": coding})

    with pytest.raises(FetchFailed, match="ended too early"):
        fetch(url)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "compress", "gzip, gzip, gzip, gzip, gzip"])
def test_undecodable_bytes_are_refused_at_once(site: Origin, fetch: Download, coding: str) -> None:
    url = site.put("/file", b"this is not what it says", headers={"Content-Encoding": coding})

    with pytest.raises(FetchFailed, match="cannot be decoded"):
        fetch(url)
    assert len(site.requests) <= 2


def test_spaces_and_letters_of_any_script_are_escaped(site: Origin, fetch: Download, tmp_path: Path) -> None:
    site.put("/a%20b/%E6%97%A5.png", b"here")
    check(fetch(f"{site.url}/a b/日.png"), tmp_path / "part", b"here")
    check(fetch(f"{site.url}/a%20b/%E6%97%A5.png"), tmp_path / "part", b"here")


@pytest.mark.parametrize(
    ("location", "path"),
    [("/a b.png", "/a%20b.png"), ("/é.png", "/%E9.png"), ("/é.png".encode().decode("latin-1"), "/%C3%A9.png")],
)
def test_a_location_is_escaped_too(site: Origin, fetch: Download, tmp_path: Path, location: str, path: str) -> None:
    site.put(path, b"there")
    url = site.put("/moved", b"", status=302, headers={"Location": location})

    check(fetch(url), tmp_path / "part", b"there")


def test_a_login_in_a_url_is_sent_only_to_its_host(site: Origin, fetch: Download, tmp_path: Path) -> None:
    elsewhere = site.put("/there", b"there").replace("127.0.0.1", "localhost")
    site.put("/moved", b"", status=302, headers={"Location": elsewhere})

    check(fetch(f"{site.url}/moved".replace("//", "//bob:p%40ss@")), tmp_path / "part", b"there")

    assert site.requests_to("/moved")[0].headers["Authorization"] == "Basic Ym9iOnBAc3M="
    assert site.requests_to("/moved")[0].headers["Host"] == site.url.removeprefix("http://")
    assert "Authorization" not in site.requests_to("/there")[0].headers


def test_a_login_in_a_url_stays_with_a_redirect_within_its_host(site: Origin, fetch: Download, tmp_path: Path) -> None:
    site.put("/there", b"there")
    site.put("/moved", b"", status=302, headers={"Location": "/there"})

    check(fetch(f"{site.url}/moved".replace("//", "//bob:p%40ss@")), tmp_path / "part", b"there")

    assert site.requests_to("/there")[0].headers["Authorization"] == "Basic Ym9iOnBAc3M="


def test_a_login_in_a_location_is_used_there(site: Origin, fetch: Download, tmp_path: Path) -> None:
    there = site.put("/there", b"there").replace("127.0.0.1", "u:p@localhost")
    url = site.put("/moved", b"", status=302, headers={"Location": there})

    check(fetch(url, headers={"Authorization": "Bearer mine"}), tmp_path / "part", b"there")

    assert site.requests_to("/there")[0].headers["Authorization"] == "Basic dTpw"


def test_header_names_are_case_insensitive_and_sent_once(site: Origin, fetch: Download) -> None:
    sent: dict[str, list[str]] = {}
    url = site.put("/file", b"there").replace("//", "//bob:secret@")

    fetch(url, headers={"user-agent": "mine/1", "AUTHORIZATION": "Bearer mine"})

    for name, value in site.requests[0].pairs:
        sent.setdefault(name.lower(), []).append(value)
    assert (sent["user-agent"], sent["authorization"]) == (["mine/1"], ["Bearer mine"])
    assert {name for name, values in sent.items() if len(values) > 1} == set()


def test_a_redirect_without_location_is_an_error(site: Origin, fetch: Download) -> None:
    with pytest.raises(FetchFailed, match="answered 302 without a Location"):
        fetch(site.put("/moved", b"", status=302))
    assert len(site.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(site: Origin, fetch: Download, tmp_path: Path, status: int) -> None:
    site.put("/file", b"there", status=status, refusals=6, headers={"Retry-After": "0"})
    check(fetch(f"{site.url}/file", stop=Unhurried()), tmp_path / "part", b"there")
    assert len(site.requests) == 7

    stop = Unhurried()
    site.put("/file", b"there", status=status, refusals=1, headers={"Retry-After": "45"})
    check(fetch(f"{site.url}/file", stop=stop), tmp_path / "part", b"there")
    assert stop.waited == [45]


class Unhurried(Stop):
    """Waits without taking time."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        return self.is_set()


def test_a_retry_after_beyond_the_time_limit_fails_at_once(site: Origin, fetch: Download) -> None:
    url = site.put(
        "/file", b"", status=429, refusal=b'{"error": {"message": "Slow down"}}', headers={"Retry-After": "99"}
    )

    with pytest.raises(HostBusy, match=r"answered 429: Slow down\. It asks to retry in 99 s\."):
        fetch(url, stop=Unhurried())
    assert len(site.requests) == 1


def test_a_refusal_quotes_the_host_without_secrets(site: Origin, fetch: Download) -> None:
    said = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    with pytest.raises(FetchFailed, match=r"answered 403: Request has expired\.$"):
        fetch(site.put("/file", b"", status=403, refusal=said))

    packed = gzip.compress(b"no token hunter22 nor Basic Ym9iOmh1bnRlcjIy, or Bearer s3cret-key")
    url = site.put("/file", b"", status=401, refusal=packed, headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchFailed, match=r"answered 401: no token \*\*\* nor \*\*\*, or") as refused:
        fetch(url.replace("//", "//bob:hunter22@"), headers={"X-Key": "s3cret-key"})
    assert "s3cret-key" not in refused.value.message


@pytest.mark.parametrize(
    ("drips", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Drip: ", "longer than"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\nBecause", "answered 403: Because"),
    ],
)
def test_a_dripping_server_hits_the_time_limit(fetch: Download, drips: bytes, message: str) -> None:
    """One byte after the other, none too late, for as long as somebody reads."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with contextlib.suppress(OSError):
                while True:
                    opened, _ = server.accept()
                    with opened:
                        opened.sendall(drips)
                        while not over.wait(0.05):
                            opened.sendall(b".")

        threading.Thread(target=drip, daemon=True).start()
        try:
            with pytest.raises(FetchFailed, match=message):
                fetch(f"http://127.0.0.1:{server.getsockname()[1]}/", limits=Limits(bytes=100, seconds=1))
        finally:
            over.set()


def test_a_silent_server_does_not_block_stopping(site: Origin, fetch: Download) -> None:
    release, stop = threading.Event(), Stop()
    url = site.put("/file", b"x", hold=release)
    ended = threading.Event()

    def run() -> None:
        with pytest.raises(Stopped):
            fetch(url, stop=stop)
        ended.set()

    threading.Thread(target=run).start()
    site.asked.get(timeout=60)
    stop.set()

    assert ended.wait(60)
    release.set()
