"""The text in the element `metadata` of an SVG, as ComfyUI's SaveSVGNode writes it."""

from __future__ import annotations

from typing import IO
from xml.parsers import expat

from comfyward.files.carriers.texts import Texts

PIECE_BYTES = 1 << 16
ELEMENT = "metadata"


def add_texts(source: IO[bytes], texts: Texts, most_bytes: int) -> None:
    """Takes the text of each whole `metadata` up to where the file is no XML. Raises ValueError for entities."""
    source.seek(0)
    parser = expat.ParserCreate()
    metadata = _Metadata(texts, most_bytes)
    parser.StartElementHandler, parser.EndElementHandler = metadata.on_start, metadata.on_end
    parser.CharacterDataHandler, parser.EntityDeclHandler = metadata.on_text, _refuse_entities
    try:
        while piece := source.read(PIECE_BYTES):
            parser.Parse(piece)
    except expat.ExpatError:
        return


class _Metadata:
    """Collects what is inside of `metadata`."""

    def __init__(self, texts: Texts, most_bytes: int) -> None:
        self._texts, self._left = texts, most_bytes
        self._pieces: list[str] = []
        self._depth = 0  # inside of it

    def on_start(self, name: str, _attributes: object) -> None:
        if self._depth or _local(name) == ELEMENT:
            self._depth += 1

    def on_text(self, piece: str) -> None:
        if self._depth:
            self._left -= len(piece)
            if self._left < 0:
                raise ValueError("too much metadata")
            self._pieces.append(piece)

    def on_end(self, _name: str) -> None:
        if self._depth:
            self._depth -= 1
            if not self._depth:
                self._texts.add(ELEMENT, "".join(self._pieces))
                self._pieces.clear()


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _refuse_entities(*_: object) -> None:
    raise ValueError("entities are not read")
