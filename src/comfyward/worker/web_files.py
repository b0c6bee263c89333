"""Reads from a running ComfyUI what its packs bring for the editor, as a browser would get it from there.

Packs chose all of it, and asking their routes may do anything to this ComfyUI: it is asked last, in a trial.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any, Protocol

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
from comfyward.errors import ComfyUICrashed, ComfyUIError, SetupFailed

FILE_TIMEOUT_S, ANSWER_TIMEOUT_S, TIMEOUT_S = 20.0, 5.0, 120.0
AROUND_BYTES = 1000  # that a file takes in an archive beside its content
RESTARTS = 3  # after routes that end ComfyUI

log = logging.getLogger(__name__)


class Restartable(Protocol):
    """A ComfyUI that can be started again."""

    @property
    def client(self) -> ComfyClient: ...

    async def ensure(self) -> None: ...

    def distrust(self) -> None: ...


async def read_web_files(comfyui: Restartable, packs: Collection[str]) -> list[WebFile]:
    """The files and answers of these packs, by their folders, within bounds: what is there when one is reached."""
    found: dict[str, WebFile] = {}
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await _read(comfyui, packs, found)
    except (ComfyUIError, SetupFailed, TimeoutError) as error:
        log.warning("not all web files of packs were read: %r", error, extra={"action": "web_files_left_out"})
    return list(found.values())


async def _read(comfyui: Restartable, packs: Collection[str], found: dict[str, WebFile]) -> None:
    listing = await comfyui.client.web_listing()
    files, routes = (_pairs(listing.get(name), packs) for name in ("files", "routes"))
    wanted = [(pack, path, False) for pack, path in files[:MAX_FILES]]
    wanted += [(pack, path, True) for pack, path in routes[:MAX_ANSWERS]]
    room, restarts = MAX_BYTES, RESTARTS
    for pack, path, is_route in wanted:
        try:
            file = await _fetched(comfyui.client, pack, path, is_route=is_route)
        except ComfyUICrashed:
            if restarts == 0:
                raise
            restarts -= 1
            comfyui.distrust()  # its end may not have been noticed yet, and the next path would meet it too
            await comfyui.ensure()
            continue
        if file is None or path in found:
            continue
        room -= len(file.content) + AROUND_BYTES
        if room < 0:
            log.warning("the web files of packs are too large", extra={"action": "web_files_left_out"})
            return
        found[path] = file


async def _fetched(client: ComfyClient, pack: str, path: str, *, is_route: bool) -> WebFile | None:
    """Raises ComfyUICrashed."""
    most, timeout_s = (MAX_ANSWER_BYTES, ANSWER_TIMEOUT_S) if is_route else (MAX_FILE_BYTES, FILE_TIMEOUT_S)
    got = await client.fetch(path, most, timeout_s)
    if got is None:
        return None
    told = got.content_type.encode("ascii", "ignore").decode()[:200] or OCTET_STREAM
    return WebFile(path, pack, got.body, told if is_route else "")


def _pairs(listed: Any, packs: Collection[str]) -> list[tuple[str, str]]:
    """The (pack, path) of a list that are what they should be."""
    pairs = [tuple(each) for each in listed if isinstance(each, list)] if isinstance(listed, list) else []
    return [
        (pair[0], pair[1])
        for pair in pairs
        if len(pair) == 2 and all(isinstance(each, str) for each in pair) and pair[0] in packs and is_plain(pair[1])
    ]
