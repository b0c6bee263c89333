"""Pinned models take no more of a host's cache than its limit, so that files of runs come in beside them; one that is
refused evicts nothing."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from comfyward.files.cache import HostCache, WantedFile
from comfyward.files.digest import digests_of
from comfyward.files.fetch import Limits
from comfyward.files.guard import Guard
from comfyward.files.stop import Stop
from comfyward.runs.files import Url
from comfyward.worker.pinned_files import COMING, PinnedFiles
from comfyward.worker.protocol import ModelOrder
from tests.fakes.http import Origin

LIMIT = 250


class Host:
    def __init__(self, root: Path, site: Origin) -> None:
        self.site = site
        self.cache = HostCache(root, LIMIT, Guard.allowing(["127.0.0.1"]), Limits(bytes=1 << 30, seconds=60))
        link: Any = SimpleNamespace(headers={}, pinned_url=lambda worker, incarnation, digest: f"{site.url}/{digest}")
        info: Any = SimpleNamespace(id="worker", incarnation="first")
        self._pinned = PinnedFiles(self.cache, link, info)

    def pin(self, data: bytes) -> str:
        """What is said of a pinned model once it has been fetched, or refused."""
        digest = digests_of(data)[0]
        order, here = ModelOrder(f"/models/loras/{digest}", digest), threading.Event()
        self.site.put(f"/{digest}", data)
        self._pinned.get(order, here.set)
        self._pinned._threads.submit(lambda: None).result(timeout=60)  # one at a time: it comes after the download
        return COMING if here.is_set() else self._pinned.get(order, here.set)

    def fetch(self, name: str, data: bytes) -> Path:
        """A run's file; the folder of its pin."""
        wanted = WantedFile("/models/loras/a", Url(self.site.put(f"/{name}", data)), immutable=True)
        folder = self.cache.pin_folder("worker", name)
        self.cache.obtain(wanted, folder / "0", lambda done, total: None, Stop())
        return folder


def test_files_of_runs_come_beside_pinned_models(tmp_path: Path, site: Origin) -> None:
    host = Host(tmp_path, site)
    assert [host.pin(b"a" * 100), host.pin(b"b" * 100)] == [COMING, COMING]

    refused = host.pin(b"c" * 100)
    host.fetch("first", b"1" * 100)
    host.fetch("second", b"2" * 100)

    assert "A file of 100 bytes does not fit: the cache has 50 bytes for it." in refused
    assert host.cache.digests() == {digests_of(letter * 100)[0] for letter in (b"a", b"b", b"1", b"2")}


def test_one_that_is_refused_evicts_nothing(tmp_path: Path, site: Origin) -> None:
    host = Host(tmp_path, site)
    host.cache.unpin(host.fetch("first", b"1" * 100))
    assert host.pin(b"a" * 100) == COMING
    before = host.cache.digests()

    assert host.pin(b"b" * 200) != COMING

    assert len(before) == 2
    assert host.cache.digests() == before
