"""Lookups of host names that hold up nothing else.

The event loop's own lookups share a few threads, which a few silent name servers would fill.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult


async def look_up(host: str, port: int) -> list[ResolveResult]:
    """The addresses of a host, looked up on a thread of its own. Raises OSError, or UnicodeError for no host name."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Any]] = loop.create_future()

    def settle(found: list[Any], failure: Exception | None) -> None:
        if answer.done():
            return
        if failure is None:
            answer.set_result(found)
        else:
            answer.set_exception(failure)

    def ask() -> None:
        found, failure = list[Any](), None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(settle, found, failure)

    threading.Thread(target=ask, name="webhook-name", daemon=True).start()
    infos = await answer
    return [
        ResolveResult(hostname=host, host=str(target[0]), port=target[1], family=family, proto=proto, flags=0)
        for family, _, proto, _, target in infos
    ]


@dataclass(frozen=True)
class FoundAddresses(AbstractResolver):
    """Answers aiohttp with addresses that have been looked up."""

    addresses: Sequence[ResolveResult]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return list(self.addresses)

    async def close(self) -> None:
        """Holds nothing."""
