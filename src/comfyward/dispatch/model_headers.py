"""The facts in the headers of models: read once for each file, a few at a time, and only while somebody asks.

No tensor is read. What is not read in time is read for the next one who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from comfyward.dispatch.safetensors import read_header
from comfyward.errors import NotFound
from comfyward.files.objects import Objects
from comfyward.store import models
from comfyward.store.db import Database, now_ms
from comfyward.store.files import StoredFile
from comfyward.workflows.model_facts import ModelFacts, facts_of

PATIENCE_S = 3.0
PARALLEL = 8
PARALLEL_EACH = 4
SUFFIXES = (".safetensors", ".sft")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownFacts:
    """The facts of files by digest, and the number of files that were not read yet."""

    by_digest: Mapping[str, ModelFacts]
    unread: int = 0


class ModelHeaders:
    def __init__(self, db: Database, objects: Objects) -> None:
        self._db, self._objects = db, objects
        self._places = asyncio.Semaphore(PARALLEL)

    async def facts(self, owner: str, found: Iterable[StoredFile]) -> KnownFacts:
        """The facts of an account's files. Waits PATIENCE_S at most."""
        wanted = {file.digest: file for file in found if file.path.lower().endswith(SUFFIXES)}
        known = await self._db.read(models.find_facts, wanted)
        missing = [file for digest, file in wanted.items() if digest not in known]
        if not missing:
            return KnownFacts(known)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                each = asyncio.Semaphore(PARALLEL_EACH)
                for file in missing:
                    group.create_task(self._read(owner, file, each))
        known = await self._db.read(models.find_facts, wanted)
        return KnownFacts(known, len(wanted.keys() - known.keys()))

    async def _read(self, owner: str, file: StoredFile, each: asyncio.Semaphore) -> None:
        """Reads one header. A file that is no safetensors file tells nothing; one that cannot be read now may later."""
        async with each, self._places:
            try:
                facts = facts_of(await read_header(self._objects, owner, file))
            except NotFound:
                facts = ModelFacts()
            except OSError:
                log.exception("the header of a model cannot be read", extra={"action": "header_unread"})
                return
            await self._db.write(models.put_facts, file.digest, facts, now_ms())
