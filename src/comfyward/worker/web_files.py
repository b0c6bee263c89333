"""Reads from a running ComfyUI what its packs bring for the editor, as a browser would get it from there.

Packs chose all of it, and asking their routes may do anything to this ComfyUI: it is asked last, in a trial.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from typing import Any

from comfyward.comfy.client import ComfyClient
from comfyward.environments.web_files import (
    MAX_ANSWER_BYTES,
    MAX_ANSWERS,
    MAX_BYTES,
    MAX_FILE_BYTES,
    MAX_FILES,
    OCTET_STREAM,
    WebFile,
    is_plain,
)
from comfyward.errors import ComfyUIError

FILE_TIMEOUT_S, ANSWER_TIMEOUT_S, TIMEOUT_S = 20.0, 5.0, 120.0
AROUND_BYTES = 1000  # that a file takes in an archive beside its content

log = logging.getLogger(__name__)


async def read_web_files(client: ComfyClient, packs: Collection[str]) -> list[WebFile]:
    """The files and answers of these packs, by their folders, within bounds. Files come first, and routes that end
    ComfyUI end the list."""
    found: dict[str, WebFile] = {}
    room = MAX_BYTES
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async for file in _each(client, packs):
                room -= len(file.content) + AROUND_BYTES
                if room < 0:
                    log.warning("the web files of packs are too large", extra={"action": "web_files_left_out"})
                    break
                found.setdefault(file.path, file)
    except (ComfyUIError, TimeoutError) as error:
        log.warning("not all web files of packs were read: %r", error, extra={"action": "web_files_left_out"})
    return list(found.values())


async def _each(client: ComfyClient, packs: Collection[str]) -> AsyncIterator[WebFile]:
    listing = await client.web_listing()
    for pack, path in _pairs(listing.get("files"), packs, MAX_FILES):
        if (got := await client.fetch(path, MAX_FILE_BYTES, FILE_TIMEOUT_S)) is not None:
            yield WebFile(path, pack, got.body)
    for pack, path in _pairs(listing.get("routes"), packs, MAX_ANSWERS):
        if (got := await client.fetch(path, MAX_ANSWER_BYTES, ANSWER_TIMEOUT_S)) is not None:
            told = got.content_type.encode("ascii", "ignore").decode()[:200]
            yield WebFile(path, pack, got.body, told or OCTET_STREAM)


def _pairs(listed: Any, packs: Collection[str], most: int) -> list[tuple[str, str]]:
    """The (pack, path) of a list that are what they should be."""
    pairs = [tuple(each) for each in listed if isinstance(each, list)] if isinstance(listed, list) else []
    return [
        (pair[0], pair[1])
        for pair in pairs
        if len(pair) == 2 and all(isinstance(each, str) for each in pair) and pair[0] in packs and is_plain(pair[1])
    ][:most]
