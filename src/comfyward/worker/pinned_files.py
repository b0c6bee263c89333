"""Pinned models that are not on the host yet: they are fetched from the server ahead of any run, one at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from comfyward.errors import ComfywardError
from comfyward.files import page_cache
from comfyward.files.cache import HostCache
from comfyward.files.stop import Stop, Stopped
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import ModelOrder, WorkerInfo
from comfyward.worker.stage import SERVERS_OWN, stored

log = logging.getLogger(__name__)

KEPT = "kept"  # the name of the folder of links to pinned models
COMING = "The model is being fetched to this host."
AGAIN_S = 60.0  # after a download that failed


class PinnedFiles:
    """Fetches into the host's cache, where a link keeps each model. A run that needs it meanwhile waits for the same
    download."""

    def __init__(self, cache: HostCache, link: ServerLink, info: WorkerInfo) -> None:
        self._cache, self._link, self._info = cache, link, info
        self._threads = ThreadPoolExecutor(1, "pinned-files", initializer=page_cache.read_when_idle)
        self._stop, self._lock = Stop(), threading.Lock()
        self._coming: set[ModelOrder] = set()
        self._failed: dict[ModelOrder, tuple[str, float]] = {}  # why, and when it is tried again

    def get(self, order: ModelOrder, when_here: Callable[[], None]) -> str:
        """Has a model fetched, unless that goes on already or has just failed. Returns what to say of it until then."""
        with self._lock:
            why, again_at = self._failed.get(order, (COMING, 0.0))
            if order not in self._coming and time.monotonic() >= again_at and not self._stop.is_set():
                self._coming.add(order)
                self._threads.submit(self._fetch, order, when_here)
        return why

    def close(self) -> None:
        self._stop.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, order: ModelOrder, when_here: Callable[[], None]) -> None:
        try:
            url = self._link.pinned_url(self._info.id, self._info.incarnation, order.digest)
            wanted = stored(order.path, order.digest, url, self._link.headers)
            place = self._cache.pin_folder(self._info.id, KEPT) / order.digest
            wanted = replace(
                wanted, most=self._cache.left_beside(KEPT)
            )  # a cache may take its limit twice while all is in use: the rest is for runs
            self._cache.obtain(wanted, place, lambda done, total: None, self._stop, SERVERS_OWN)
        except Stopped:
            return
        except Exception as error:  # whatever it is, the pin says so, and it is tried again
            self._has_failed(order, error)
        else:
            self._has_come(order)
            when_here()

    def _has_come(self, order: ModelOrder) -> None:
        with self._lock:
            self._coming.discard(order)
            self._failed.pop(order, None)

    def _has_failed(self, order: ModelOrder, error: Exception) -> None:
        why = error.message if isinstance(error, ComfywardError) else str(error)
        log.warning("the pinned %s was not fetched: %s", order.path, why, extra={"action": "pinned_not_fetched"})
        with self._lock:
            self._coming.discard(order)
            self._failed[order] = f"The model could not be fetched to this host: {why}", time.monotonic() + AGAIN_S
