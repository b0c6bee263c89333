"""A server that stops while it fetches a file leaves the import waiting: the next one fetches it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

from comfyward.dispatch.imports import Imports
from comfyward.files.stop import Stop, Stopped
from comfyward.runs.files import Url
from comfyward.store import imports
from tests.fakes.model_sites import NoSecrets, site_files
from tests.store.conftest import Store


class SilentHost:
    """A cache whose download brings nothing until it is stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.fetches = threading.Event()

    def pin_folder(self, owner: str, name: str) -> Path:
        return self._folder

    def obtain(self, wanted: object, pin: object, progress: object, stop: Stop) -> None:
        self.fetches.set()
        stop.wait()
        raise Stopped

    def unpin(self, folder: Path) -> None:
        return


def test_a_stopped_import_waits(store: Store, tmp_path: Path) -> None:
    host = SilentHost(tmp_path)

    async def run() -> None:
        loop = Imports(store.db, SimpleNamespace(room=_room), site_files(), NoSecrets(), host)  # type: ignore[arg-type]
        await loop.add(store.alice.id, "/input/a.png", Url("http://127.0.0.1/a.png"))
        await loop.tick()
        await asyncio.to_thread(host.fetches.wait)
        await loop.stop()

    asyncio.run(run())

    [waiting] = store.read(imports.find, store.alice.id)
    assert (waiting.state, waiting.failure) == ("waiting", None)


async def _room(account_id: str, path: str) -> None:
    """There is room for any file."""
