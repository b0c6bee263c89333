"""One download for many, nothing stale, nothing that is in use evicted."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comfyward.errors import FetchFailed, StorageFull
from comfyward.files.cache import HostCache, WantedFile
from comfyward.files.digest import digests_of
from comfyward.files.fetch import Limits
from comfyward.files.guard import Guard
from comfyward.files.stop import Stop, Stopped
from comfyward.runs.files import Url
from tests.fakes.http import Origin

LIMITS = Limits(bytes=1 << 30, seconds=60)


class Shelf:
    """A cache with a folder for pins."""

    def __init__(self, root: Path, limit_bytes: int = 1 << 30) -> None:
        self.cache = HostCache(root, limit_bytes, Guard.allowing(["127.0.0.1"]), LIMITS)
        self.folder = self.cache.pin_folder("worker", "lease")

    def get(self, url: str, name: str = "a", path: str = "/models/loras/a.bin", **source: object) -> bytes:
        immutable = path.startswith("/models/")
        wanted = WantedFile(path, Url(url, **source), immutable)  # type: ignore[arg-type]
        self.cache.obtain(wanted, self.folder / name, lambda done, total: None, Stop())
        return (self.folder / name).read_bytes()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_model_is_fetched_once_and_taken_as_immutable(shelf: Shelf, site: Origin) -> None:
    url = site.put("/a", b"first")
    assert shelf.get(url) == b"first"
    site.put("/a", b"second")
    assert shelf.get(url) == b"first"
    assert len(site.requests) == 1


def test_an_input_is_asked_again_every_time(shelf: Shelf, site: Origin) -> None:
    url = site.put("/a", b"first")
    assert shelf.get(url, path="/input/a") == b"first"
    site.put("/a", b"second")
    assert shelf.get(url, path="/input/a") == b"second"
    del site.files["/a"]
    with pytest.raises(FetchFailed):
        shelf.get(url, path="/input/a")  # rather an error than something stale


def test_a_blob_is_read_only_and_shared_by_content(shelf: Shelf, site: Origin) -> None:
    one, two = site.put("/one", b"same"), site.put("/two", b"same")
    shelf.get(one, "one")
    shelf.get(two, "two")

    assert (shelf.folder / "one").stat().st_ino == (shelf.folder / "two").stat().st_ino
    assert (shelf.folder / "one").stat().st_mode & 0o222 == 0
    assert shelf.cache.digests() == {digests_of(b"same")[0]}


def test_a_file_that_needs_a_token_is_not_given_without_it(shelf: Shelf, site: Origin) -> None:
    url = site.put("/private", b"secret")
    assert shelf.get(url, headers=(("Authorization", "Bearer t"),)) == b"secret"
    site.put("/private", b"", status=401)

    with pytest.raises(FetchFailed, match="401"):
        shelf.get(url)


def test_eight_at_once_share_one_download(shelf: Shelf, site: Origin) -> None:
    release = threading.Event()
    url = site.put("/a", b"x" * 100_000, hold=release)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(shelf.get, url, str(number)) for number in range(8)]
        site.asked.get(timeout=60)
        release.set()
        assert {len(each.result()) for each in waiting} == {100_000}
    assert len(site.requests) == 1


def test_waiting_for_a_shared_download_can_be_stopped(shelf: Shelf, site: Origin) -> None:
    release, stop = Stop(), threading.Event()
    url = site.put("/a", b"x", hold=release)
    wanted = WantedFile("/models/a/b", Url(url), immutable=True)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(shelf.get, url)
        site.asked.get(timeout=60)
        second = pool.submit(shelf.cache.obtain, wanted, shelf.folder / "b", lambda done, total: None, stop)
        stop.set()
        with pytest.raises(Stopped):
            second.result(timeout=60)
        release.set()
        assert first.result(timeout=60) == b"x"


def test_the_least_used_unpinned_blob_is_evicted(tmp_path: Path, site: Origin) -> None:
    shelf = Shelf(tmp_path, limit_bytes=250)
    urls = {name: site.put(f"/{name}", name.encode() * 100) for name in "abc"}
    shelf.get(urls["a"], "a")
    shelf.get(urls["b"], "b")
    shelf.cache.unpin(shelf.folder)
    again = Shelf(tmp_path, limit_bytes=250)
    again.get(urls["a"], "a")  # used again, and pinned

    again.get(urls["c"], "c")

    assert again.cache.digests() == {digests_of(name.encode() * 100)[0] for name in "ac"}


def test_pinned_blobs_stay_even_when_the_cache_is_over_its_cap(tmp_path: Path, site: Origin) -> None:
    shelf = Shelf(tmp_path, limit_bytes=150)
    for name in "ab":
        shelf.get(site.put(f"/{name}", name.encode() * 100), name)

    assert (shelf.folder / "a").read_bytes() == b"a" * 100
    with pytest.raises(StorageFull):
        shelf.get(site.put("/huge", b"x" * 151), "huge")


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/models/loras/a.safetensors", b"<html>login</html>"),
        ("/models/loras/a.ckpt", b"\n <!DOCTYPE HTML><title>x"),
        ("/models/loras/a.safetensors", b"not safetensors at all"),
        ("/models/loras/a.safetensors", (10**9).to_bytes(8, "little") + b"{"),
        ("/input/a.png", b"<!doctype html>"),
    ],
)
def test_a_web_page_instead_of_a_file_is_refused_and_not_cached(
    shelf: Shelf, site: Origin, path: str, data: bytes
) -> None:
    url = site.put("/a", data)
    with pytest.raises(FetchFailed) as refused:
        shelf.get(url, path=path)
    assert refused.value.hint
    assert shelf.cache.digests() == set()

    good = (2).to_bytes(8, "little") + b"{}"
    site.put("/a", good)
    assert shelf.get(url, path=path) == good


def test_an_html_input_is_accepted(shelf: Shelf, site: Origin) -> None:
    assert shelf.get(site.put("/a", b"<html></html>"), path="/input/page.html") == b"<html></html>"


def test_a_digest_is_checked_in_both_kinds(shelf: Shelf, site: Origin) -> None:
    url = site.put("/a", b"data")
    for digest in digests_of(b"data"):
        assert shelf.get(url, digest=digest) == b"data"
    with pytest.raises(FetchFailed, match="digest"):
        shelf.get(url, digest="0" * 64)
