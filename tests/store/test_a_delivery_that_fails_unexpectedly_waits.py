"""Whatever goes wrong while a webhook is sent, it counts as an attempt, and the next one waits."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from comfyward.delivery.webhooks import Webhooks, WebhooksDue
from comfyward.files.guard import Guard
from comfyward.runs.run import Run
from comfyward.store import runs, webhooks
from comfyward.store.db import now_ms
from tests.store.conftest import Store


def test_and_its_log_says_why(store: Store) -> None:
    store.new_run("r", webhook="http://127.0.0.1:9/hook")
    began = now_ms()
    store.write(lambda conn: webhooks.add(conn, runs.get(conn, store.alice.id, "r"), "run.started", began))
    rendered = []

    def render(run: Run) -> bytes:
        rendered.append(run.id)
        raise ZeroDivisionError

    async def run() -> None:
        notices = SimpleNamespace(wake=lambda *_: None, send=lambda *_: None)
        loop = Webhooks(store.db, WebhooksDue(notices), Guard(), render, retry_s=3600)  # type: ignore[arg-type]
        for _ in range(3):
            await loop.tick()
            await asyncio.gather(*loop._in_flight)
        await loop.stop()

    asyncio.run(run())

    [delivery] = store.read(webhooks.find, store.alice.id, None, 10)
    assert rendered == ["r"]
    assert (delivery.state, delivery.attempts) == ("pending", 1)
    assert delivery.last_answer == "An unexpected error on this server (ZeroDivisionError)."
    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at > began
