"""The downloader against a real server with faults: ranges, breaks, redirects, lengths, limits."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from comfyward.errors import FetchFailed, FetchRefused, TooLarge
from comfyward.files.digest import digests_of
from comfyward.files.fetch import Fetch, Limits, Stop, Stopped
from comfyward.files.guard import Guard
from comfyward.files.part import PART_BYTES, Fetched
from tests.fakes.http import Origin

LIMITS = Limits(bytes=1 << 30, seconds=60, connections=4)
BIG = bytes(range(251)) * (PART_BYTES * 5 // 2 // 251)  # two parts and a half

Start = Callable[..., Fetch]


@pytest.fixture
def fetch(tmp_path: Path) -> Start:
    def start(url: str, **how: object) -> Fetch:
        how.setdefault("guard", Guard.allowing(["127.0.0.1"]))
        how.setdefault("limits", LIMITS)
        return Fetch(url, tmp_path / "part", **how)  # type: ignore[arg-type]

    return start


def check(fetched: Fetched | None, path: Path, data: bytes) -> None:
    assert fetched is not None
    assert path.read_bytes() == data
    assert (fetched.size, fetched.blake3, fetched.sha256) == (len(data), *digests_of(data))
    assert not path.with_name("part.json").exists()


@pytest.mark.parametrize("data", [b"", b"x", BIG[:PART_BYTES], BIG[: PART_BYTES + 1], BIG])
@pytest.mark.parametrize("ranges", [True, False])
def test_files_of_any_size_arrive_whole_and_hashed(
    site: Origin, fetch: Start, tmp_path: Path, data: bytes, ranges: bool
) -> None:
    url = site.put("/file", data, ranges=ranges)
    progress: list[tuple[int, int | None]] = []

    fetched = fetch(url, progress=lambda done, total: progress.append((done, total))).run()

    check(fetched, tmp_path / "part", data)
    if data:
        assert progress[-1] == (len(data), len(data))


def test_a_connection_that_breaks_is_taken_up_again(site: Origin, fetch: Start, tmp_path: Path) -> None:
    url = site.put("/file", BIG, break_after=PART_BYTES // 3, breaks=3)

    check(fetch(url).run(), tmp_path / "part", BIG)


def test_a_later_try_goes_on_where_the_first_one_stopped(site: Origin, fetch: Start, tmp_path: Path) -> None:
    url = site.put("/file", BIG)
    stop = Stop()

    def stop_after_the_first_part(done: int, total: int | None) -> None:
        if done > PART_BYTES:
            stop.set()

    with pytest.raises(Stopped):
        fetch(url, stop=stop, progress=stop_after_the_first_part, limits=Limits(1 << 30, 60, connections=1)).run()
    before = len(site.requests)
    check(fetch(url).run(), tmp_path / "part", BIG)

    ranges = [request.headers["Range"] for request in site.requests[before + 1 :]]
    assert f"bytes=0-{PART_BYTES - 1}" not in ranges, "the finished part was not fetched again"


def test_a_file_that_changed_in_between_is_begun_anew(site: Origin, fetch: Start, tmp_path: Path) -> None:
    url = site.put("/file", BIG, break_after=10, breaks=99)
    with pytest.raises(FetchFailed):
        fetch(url).run()
    changed = BIG[::-1]
    site.put("/file", changed)

    check(fetch(url).run(), tmp_path / "part", changed)


def test_an_unchanged_file_is_not_sent_again(site: Origin, fetch: Start) -> None:
    url = site.put("/file", b"same")
    first = fetch(url).run()
    assert first is not None

    assert fetch(url, known=first.validators).run() is None
    site.put("/file", b"other")
    again = fetch(url, known=first.validators).run()
    assert again is not None
    assert again.blake3 == digests_of(b"other")[0]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(site: Origin, fetch: Start, status: int) -> None:
    with pytest.raises(FetchFailed, match=str(status)):
        fetch(site.put("/file", b"", status=status)).run()
    assert len(site.requests) == 1


def test_a_busy_server_is_asked_again(site: Origin, fetch: Start) -> None:
    with pytest.raises(FetchFailed, match="503"):
        fetch(site.put("/file", b"", status=503)).run()
    assert len(site.requests) > 1


def test_redirects_are_followed_but_not_for_ever_nor_anywhere(site: Origin, fetch: Start, tmp_path: Path) -> None:
    site.put("/target", b"there")
    url = site.put("/once", b"", status=302, headers={"Location": "/target"})
    check(fetch(url).run(), tmp_path / "part", b"there")

    url = site.put("/loop", b"", status=302, headers={"Location": "/loop"})
    with pytest.raises(FetchFailed, match="redirects more than"):
        fetch(url).run()
    url = site.put("/file", b"", status=302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(FetchFailed, match="not http"):
        fetch(url).run()


def test_a_redirect_into_the_private_network_is_refused(site: Origin, fetch: Start) -> None:
    url = site.put("/evil", b"", status=302, headers={"Location": "http://127.0.0.2:1/secret"})
    with pytest.raises(FetchRefused):
        fetch(url).run()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_over_the_limit_is_refused(site: Origin, fetch: Start, ranges: bool) -> None:
    url = site.put("/file", b"x" * 101, ranges=ranges)
    with pytest.raises(TooLarge):
        fetch(url, limits=Limits(bytes=100, seconds=10)).run()


def test_a_download_has_a_time_limit(site: Origin, fetch: Start) -> None:
    url = site.put("/file", b"", status=503)
    with pytest.raises(FetchFailed, match="longer than"):
        fetch(url, limits=Limits(bytes=100, seconds=0.2)).run()


def test_compressed_bytes_that_were_not_asked_for_are_refused(site: Origin, fetch: Start) -> None:
    url = site.put("/file", b"x", headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchFailed, match="compressed"):
        fetch(url).run()
    assert site.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_silent_server_does_not_keep_a_stopped_download(site: Origin, fetch: Start) -> None:
    release, stop = threading.Event(), Stop()
    started = fetch(site.put("/file", b"x", hold=release), stop=stop)
    ended = threading.Event()

    def run() -> None:
        with pytest.raises(Stopped):
            started.run()
        ended.set()

    threading.Thread(target=run).start()
    site.asked.get(timeout=10)
    stop.set()

    assert ended.wait(5)
    release.set()
