"""A server's side of the workers: their sessions, the assignment of runs, what they report, and its own fleet."""

from __future__ import annotations

import asyncio

from comfyward.api.readiness import Readiness
from comfyward.dispatch.assigner import Assigner
from comfyward.dispatch.forecast import QueueForecasts
from comfyward.dispatch.model_pins import PinnedModels
from comfyward.dispatch.placement import Rules
from comfyward.dispatch.recaller import Recaller
from comfyward.dispatch.recorder import Recorder
from comfyward.dispatch.refusals import Refusals
from comfyward.dispatch.revisions import Revisions
from comfyward.dispatch.trials import Trials
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_orders import WorkerOrders
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.fleet.devices import Device, find_devices
from comfyward.fleet.fleet import Limits, NoFleet, OwnFleet, Reconcile
from comfyward.fleet.local import LocalFleet, LocalWorkers
from comfyward.loop import Loop
from comfyward.server.changes import Changes
from comfyward.server.identity import Identity
from comfyward.server.storage import Storage
from comfyward.settings import Settings
from comfyward.store.db import Database


class Workforce:
    """Workers, the runs that they get, and this server's own fleet."""

    def __init__(
        self, settings: Settings, db: Database, changes: Changes, storage: Storage, identity: Identity, url: str
    ) -> None:
        publisher = changes.publisher
        self.logs = WorkerLogs(db.notices, changes.signals)
        self.revisions = Revisions(db, changes.signals)
        self.pinned = PinnedModels(db)
        orders = WorkerOrders(db, self.logs, self.revisions, self.pinned)
        self.sessions = WorkerSessions(db, publisher, changes.signals, orders, changes.waiting, settings.lease_s)
        self.trials = Trials(db, self.revisions)
        self.rules = _placement_rules(settings)
        self.assigner = Assigner(db, publisher, changes.waiting, self.sessions, self.rules, settings.prices)
        self.recaller = Recaller(db, changes.waiting, changes.signals, self.rules)
        self.recorder = Recorder(db, storage.blobs, publisher, Refusals(db, storage.named_secrets))
        devices = _devices(settings)
        self.local_pools = tuple(device.pool for device in devices)
        self.fleet: OwnFleet = NoFleet()
        self.fleet_loops: list[Loop] = []
        if settings.fleet == "local":
            local = _local_fleet(settings, devices, identity, url, self.sessions, changes.fleet_hint)
            self.fleet = local
            self.fleet_loops = [Reconcile(db, local, settings.shutdown_grace_s, changes.fleet_hint)]
        self.forecasts = QueueForecasts(db, self.revisions, self.rules, self.local_pools)
        self.readiness = Readiness(db, self.fleet, needs_worker=settings.fleet == "local")


def _placement_rules(settings: Settings) -> Rules:
    return Rules(
        affinity_wait_ms=int(settings.affinity_wait_s * 1000),
        ageing_ms=int(settings.priority_ageing_s * 1000),
        pass_ms=int(settings.affinity_pass_s * 1000),
        isolated=settings.isolation == "account",
    )


def _local_fleet(
    settings: Settings,
    devices: list[Device],
    identity: Identity,
    url: str,
    sessions: WorkerSessions,
    hint: asyncio.Event,
) -> LocalFleet:
    assert identity.worker_token is not None, "a local fleet has one"
    how = LocalWorkers(
        identity.worker_id_prefix, url, identity.worker_token, settings.as_environment(), settings.data_dir / "logs"
    )
    keep = Limits(len(devices), settings.local_min_workers, settings.local_idle_timeout_s)
    return LocalFleet(devices, how, keep, sessions.is_busy, sessions.end, hint)


def _devices(settings: Settings) -> list[Device]:
    """The machine's devices, named by the settings if they name any; none without a fleet of its own."""
    if settings.fleet != "local":
        return []
    found = find_devices()
    if not settings.local_accelerators:
        return found
    named = [found[index % len(found)] for index in range(len(settings.local_accelerators))]
    return [
        Device(pool, device.name, device.comfyui_args, device.environment)
        for pool, device in zip(settings.local_accelerators, named, strict=True)
    ]
