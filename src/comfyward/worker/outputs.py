"""Results become the outputs of a report: with their bytes while these fit into it, else uploaded before."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import blake3

from comfyward.errors import ComfywardError, StaleLease, TooLarge
from comfyward.files.digest import Hasher
from comfyward.ids import new_id
from comfyward.runs.files import content_type_of
from comfyward.runs.run import EndReason
from comfyward.worker.attempt import Failed
from comfyward.worker.file_threads import FileThreads
from comfyward.worker.link import ServerLink
from comfyward.worker.node_results import MAX_SHOWN_BYTES
from comfyward.worker.protocol import FailureReport, OutputFile, OutputOffer
from comfyward.worker.reporter import Room
from comfyward.worker.result_files import hashed, read

MAX_INLINE_TEXT = 64 << 10


@dataclass(frozen=True)
class Result:
    """A result that is about to be reported. `listed` is how its node lists it; None for a preview."""

    name: str
    node: str | None
    size: int
    listed: Hashable = None
    text: str | None = None
    streamed: bool = False

    @property
    def data(self) -> bytes:
        return (self.text or "").encode()


class Spool:
    """New files in a folder that no node can write to, and that is there until the attempt is forgotten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self, data: bytes | None = None) -> Path:
        """The path of a new file; without `data` the caller makes it."""
        path = self.folder / new_id()
        if data is not None:
            path.write_bytes(data)
        return path


class Outputs:
    """Those of the attempt with a lease."""

    def __init__(self, link: ServerLink, threads: FileThreads, lease: str, spool: Spool) -> None:
        self._link, self._threads, self._lease, self._spool = link, threads, lease, spool
        self._inline = Room(MAX_SHOWN_BYTES)

    async def add(
        self,
        result: Result,
        source: Path | bytes,
        room: Room,
        hasher: Hasher | None = None,
        data: bytes | None = None,
    ) -> OutputFile:
        """A result with its bytes if there is room for them, else once it is uploaded.

        `data` are its bytes if they have their room already, `hasher` has its digests if they are known. Raises Failed
        if the file changes meanwhile, StaleLease, TooLarge.
        """
        if data is None and room.takes(result.size):
            data = source if isinstance(source, bytes) else await self._threads.call(read, source, result.size)
        if data is not None:
            return self._output(result, blake3.blake3(data).hexdigest(), len(data), data)
        path = source if isinstance(source, Path) else await self._threads.call(self._spool.new, source)
        digests = hasher if hasher is not None else await self._threads.take(hashed(path, result.size))
        await self._upload(result, digests, path)
        return self._output(result, digests.blake3, result.size)

    async def _upload(self, result: Result, digests: Hasher, path: Path) -> None:
        offer = OutputOffer(result.name.rpartition("/")[2], result.size, digests.sha256, asks_again=True)
        try:
            await self._link.put_output(self._lease, digests.blake3, offer, path)
        except (StaleLease, TooLarge):
            raise
        except ComfywardError as error:
            again = await self._threads.take(hashed(path, path.stat().st_size))
            if again.blake3 == digests.blake3:
                raise
            message = f"'{result.name}' was still written after its node had finished."
            raise Failed(EndReason.NODE_ERROR, FailureReport(message)) from error

    def _output(self, result: Result, digest: str, size: int, data: bytes | None = None) -> OutputFile:
        text, kind = result.text, content_type_of(result.name)
        if text is not None and (len(text) > MAX_INLINE_TEXT or not self._inline.takes(size)):
            text = None
        return OutputFile(result.name, digest, size, kind, result.node, text, streamed=result.streamed, data=data)
