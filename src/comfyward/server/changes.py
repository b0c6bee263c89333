"""The publisher of what happens to runs, and its subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from comfyward.accounts.storage import Quota
from comfyward.delivery.followers import Followers
from comfyward.delivery.hub import Hub, ReadMissed
from comfyward.delivery.relay import Relay
from comfyward.delivery.telemetry import Telemetry
from comfyward.delivery.traces import tracer_to
from comfyward.delivery.webhooks import WebhooksDue
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.quotas import Quotas
from comfyward.dispatch.secrets import Secrets
from comfyward.dispatch.waiting import WaitingWorkers
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.runs.event import Event
from comfyward.settings import Settings
from comfyward.store import events
from comfyward.store.db import Database


class Changes:
    """The publisher of what happens to runs, after its subscribers."""

    def __init__(self, settings: Settings, db: Database) -> None:
        followers = Followers(settings.streams_per_account)
        self.hub = Hub(db.notices, _missed_events(db) if db.is_shared else None, followers)
        self.relay = Relay(db, self.hub)
        self.secrets = Secrets(db.notices)
        self.signals = WorkerSignals(db.notices)
        self.fleet_hint = asyncio.Event()
        self.waiting = WaitingWorkers(db.notices, self.fleet_hint)
        self.webhooks_due = WebhooksDue(db.notices)
        self.quotas = Quotas(db, Quota(**settings.quota()))
        telemetry = Telemetry(tracer_to(settings.otel_endpoint) if settings.otel_endpoint else None)
        self.publisher = Publisher(
            self.relay.on_changes,
            self.secrets.on_changes,
            self.signals.on_changes,
            self.waiting.on_changes,
            self.webhooks_due.on_changes,
            self.quotas.on_changes,
            telemetry.on_changes,
        )


def _missed_events(db: Database) -> ReadMissed:
    async def read(after: Mapping[str, int]) -> Sequence[Event]:
        return await db.read(events.missed, after)

    return read
