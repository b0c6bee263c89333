"""The models that ComfyUI's own templates name, with where they are: read from their package when first asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec

from comfyward.workflows.model_notes import KnownModels, ModelNote, notes_in
from comfyward.workflows.starters import MODEL_URLS

log = logging.getLogger(__name__)

STARTERS = [ModelNote(name, url, "checkpoints") for name, url in MODEL_URLS.items()]


class TemplateModels:
    """`folder` has the templates; None if their package is not installed."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._reading = asyncio.Lock()
        self._known: KnownModels | None = None

    async def known(self) -> KnownModels:
        """The models by name and folder. Reading all templates takes about half a second, once, in a thread."""
        async with self._reading:
            if self._known is None:
                self._known = await asyncio.to_thread(lambda: KnownModels([*self._read(), *STARTERS]))
        return self._known

    def _read(self) -> Iterator[ModelNote]:
        for path in sorted(self._folder.glob("*.json")) if self._folder is not None else ():
            try:
                yield from (note for note in notes_in(msgspec.json.decode(path.read_bytes())) if note.directory)
            except (OSError, msgspec.DecodeError):
                log.warning("%s cannot be read", path.name, extra={"action": "no_template"})
