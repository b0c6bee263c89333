"""Whatever goes wrong while a file is imported, the import ends with a reason: it is not tried for ever."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from comfyward.dispatch.imports import Imports
from comfyward.runs.files import Url
from comfyward.store import imports
from tests.fakes.model_sites import NoSecrets, site_files
from tests.store.conftest import Store


class BrokenCache:
    """Fails in a way that nobody has thought of."""

    def __init__(self, folder: Any) -> None:
        self._folder = folder
        self.calls = 0

    def pin_folder(self, owner: str, name: str) -> Any:
        return self._folder

    def obtain(self, *_: object) -> None:
        self.calls += 1
        raise ZeroDivisionError

    def unpin(self, folder: Any) -> None:
        return


def test_with_its_reason_after_one_attempt(store: Store, tmp_path: Any) -> None:
    cache = BrokenCache(tmp_path)

    async def run() -> None:
        loop = Imports(store.db, SimpleNamespace(room=_room), site_files(), NoSecrets(), cache)  # type: ignore[arg-type]
        await loop.add(store.alice.id, "/input/a.png", Url("http://127.0.0.1/a.png"))
        for _ in range(3):
            await loop.tick()
            await asyncio.gather(*(each.task for each in list(loop._fetching.values()) if each.task))

    asyncio.run(run())

    [failed] = store.read(imports.find, store.alice.id)
    assert failed.failure == "The file could not be fetched: an unexpected error on the server (ZeroDivisionError)."
    assert cache.calls == 1


async def _room(account_id: str, path: str) -> None:
    """There is room for any file."""
