"""Idempotent forms: one press of a button acts once.

Each form carries an intent: a random text that stays the same as long as the form does (static/intent.js). A double
click, a reload and a retry after a lost connection send the same intent with the same contents, and get the response to
the first request. Runs store the intent as their idempotency key, so it survives a restart of the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

FIELD = "intent"
LONGEST = 100
REMEMBER_S = 600.0
MAX_REMEMBERED = 500

Act = Callable[[], Coroutine[Any, Any, Response]]


def intent_of(form: FormData, owner: str, address: str) -> str | None:
    """A hash of a form's intent, owner, URL and fields; None for a form without an intent."""
    intent = form.get(FIELD)
    if not isinstance(intent, str) or not 0 < len(intent) <= LONGEST:
        return None
    contents = [(name, _text(value)) for name, value in form.multi_items() if name != FIELD]
    return hashlib.sha256(repr((owner, address, intent, contents)).encode()).hexdigest()


class Intents:
    """The responses to recent intents. Failed ones are forgotten, so that they can be retried."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, tuple[float, asyncio.Task[Response]]] = OrderedDict()

    async def once(self, intent: str, act: Act) -> Response:
        """The response of the first act with this intent. The act continues if its first client disconnects."""
        self._forget_old()
        known = self._answers.get(intent)
        if known is None:
            known = self._answers[intent] = time.monotonic(), asyncio.create_task(self._act(intent, act))
        return await asyncio.shield(known[1])

    async def _act(self, intent: str, act: Act) -> Response:
        succeeded = False
        try:
            answered = await act()
            succeeded = answered.status_code < 400
            return answered
        finally:
            if not succeeded:
                self._answers.pop(intent, None)

    def _forget_old(self) -> None:
        since = time.monotonic() - REMEMBER_S
        while self._answers:
            intent, (began_at, task) = next(iter(self._answers.items()))
            if began_at > since and len(self._answers) < MAX_REMEMBERED:
                return
            if not task.done():
                return  # a client still waits for it
            del self._answers[intent]


def _text(value: str | UploadFile) -> str:
    return value if isinstance(value, str) else f"{value.filename} ({value.size} bytes)"
