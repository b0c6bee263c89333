"""Reads the graphs that files carry: one reader for the website, the command line and the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.errors import InvalidGraph
from comfyward.files.pictures import Decoders
from comfyward.sandbox.temporary import TemporaryFolder
from comfyward.workflows.carried import Carried, in_text, in_texts
from comfyward.workflows.graph_limit import GraphLimit

MOST_JSON_BYTES = 64 << 20
HEAD_BYTES = 64
MARK = b"\xef\xbb\xbf"
REMOVED = "ComfyUI embeds the workflow in what it saves; editing or converting a file removes it."


class WorkflowFiles:
    """`owner` is the id of an account: one file of each is read at a time."""

    def __init__(self, decoders: Decoders, limit: GraphLimit) -> None:
        self._decoders, self._limit = decoders, limit

    async def read(self, owner: str, source: Path) -> Carried:
        """The graphs in a file of any kind. Raises InvalidGraph if there is none, or it is no workflow; TooLarge."""
        with source.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if _is_json(head):
            return await self._in_json(owner, source)
        return await self._in_texts(owner, source)

    async def read_pieces(self, owner: str, pieces: AsyncIterator[bytes]) -> Carried:
        """The same for a file that arrives in pieces. Raises what receiving it raises, too."""
        with TemporaryFolder() as folder:
            source = folder / "source"
            with source.open("wb") as file:
                async for piece in pieces:
                    file.write(piece)
            return await self.read(owner, source)

    async def _in_json(self, owner: str, source: Path) -> Carried:
        size = source.stat().st_size
        if size > MOST_JSON_BYTES:
            raise InvalidGraph(f"The file has {size} bytes of JSON; a workflow has {MOST_JSON_BYTES} at most.")
        return await HEAVY.run(owner, size, lambda: self._bounded(in_text(source.read_bytes())))

    async def _in_texts(self, owner: str, source: Path) -> Carried:
        with TemporaryFolder() as folder:
            target = folder / "texts.json"
            could_be_read = await self._decoders.texts(owner, source, target)
            size = target.stat().st_size if could_be_read else 0
            found = await HEAVY.run(owner, size, lambda: self._bounded(_in(target))) if could_be_read else Carried()
        if found.is_empty:
            message = "The file carries no ComfyUI workflow." if could_be_read else "The file could not be read."
            raise InvalidGraph(message, hint=REMOVED)
        return found

    def _bounded(self, carried: Carried) -> Carried:
        for graph in (carried.graph, carried.editor_graph):
            self._limit.size_of(graph)
        return carried


def _in(target: Path) -> Carried:
    return in_texts(msgspec.json.decode(target.read_bytes(), type=dict[str, str]))


def _is_json(head: bytes) -> bool:
    """True for text, which is JSON or meant to be, but not for the tags that an SVG begins with."""
    try:
        text = head.removeprefix(MARK).decode()
    except UnicodeDecodeError as error:
        if error.end < len(head.removeprefix(MARK)):
            return False
        text = head.removeprefix(MARK)[: error.start].decode()
    return not text.lstrip().startswith("<") and all(each.isprintable() or each.isspace() for each in text)
