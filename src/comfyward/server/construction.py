"""The composition root: settings and a database become the objects of a server, each made of those before it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from comfyward.accounts.storage import Quota
from comfyward.api.auth import Auth
from comfyward.api.contents import Contents
from comfyward.api.editor_address import EditorAddress
from comfyward.api.native.model_pictures import ModelPictures
from comfyward.api.native.pictures import Pictures
from comfyward.api.public_url import PublicUrl
from comfyward.api.readiness import Readiness
from comfyward.api.tickets import Tickets
from comfyward.api.v1.shapes import Shapes
from comfyward.delivery.followers import Followers
from comfyward.delivery.hub import Hub, ReadMissed
from comfyward.delivery.relay import Relay
from comfyward.delivery.telemetry import Telemetry
from comfyward.delivery.traces import tracer_to
from comfyward.delivery.webhooks import Webhooks, WebhooksDue
from comfyward.dispatch.admission import Admission
from comfyward.dispatch.arrivals import Arrivals
from comfyward.dispatch.assigner import Assigner
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.catalogs import Catalogs
from comfyward.dispatch.checks import Checks, Whereabouts
from comfyward.dispatch.conversion import SavedGraphs
from comfyward.dispatch.errands import Errands
from comfyward.dispatch.forecast import QueueForecasts
from comfyward.dispatch.getting import Getting
from comfyward.dispatch.imports import Imports
from comfyward.dispatch.intake import Intake, RunRules
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.known_models import TemplateModels
from comfyward.dispatch.learnings import Learnings
from comfyward.dispatch.library import Library
from comfyward.dispatch.lockings import Lockings
from comfyward.dispatch.maintenance import Deadlines, Rescue, Retention
from comfyward.dispatch.mirrors import Mirrors
from comfyward.dispatch.model_facts import ModelFacts
from comfyward.dispatch.model_headers import ModelHeaders
from comfyward.dispatch.model_pins import ModelPins, PinnedModels
from comfyward.dispatch.named_secrets import NamedSecrets
from comfyward.dispatch.origins import Origins
from comfyward.dispatch.placement import Rules
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.quotas import Quotas
from comfyward.dispatch.rechecks import Rechecks
from comfyward.dispatch.recorder import Recorder
from comfyward.dispatch.refusals import Refusals
from comfyward.dispatch.rehearsals import Rehearsals
from comfyward.dispatch.revisions import Revisions
from comfyward.dispatch.secrets import Secrets
from comfyward.dispatch.self_promotions import SelfPromotions
from comfyward.dispatch.shared_trees import SharedTrees
from comfyward.dispatch.site_files import SiteFiles
from comfyward.dispatch.trials import Trials
from comfyward.dispatch.uploads import Uploads
from comfyward.dispatch.waiting import WaitingWorkers
from comfyward.dispatch.web_files import WebFiles
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_orders import WorkerOrders
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.dispatch.workflow_files import WorkflowFiles
from comfyward.environments.fetching import Fetching
from comfyward.environments.finding.finder import Finder
from comfyward.environments.finding.map_files import MapFiles
from comfyward.environments.finding.own_table import own_table
from comfyward.environments.finding.registry_answers import RegistryAnswers
from comfyward.environments.lockers import Lockers
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.workshop import Workshop
from comfyward.errors import SetupFailed
from comfyward.files.cache import HostCache
from comfyward.files.encryption_keys import EncryptionKeys
from comfyward.files.fetch import Limits as FetchLimits
from comfyward.files.guard import Guard
from comfyward.files.model_sites import ModelSites
from comfyward.files.objects import Objects
from comfyward.files.pace import LeastSpeed
from comfyward.files.pictures import Decoders
from comfyward.fleet.devices import Device, find_devices
from comfyward.fleet.fleet import Limits, NoFleet, OwnFleet, Reconcile
from comfyward.fleet.local import LocalFleet, LocalWorkers
from comfyward.loop import Loop
from comfyward.runs.event import Event
from comfyward.server.identity import Identity
from comfyward.settings import Settings
from comfyward.store import events, workers
from comfyward.store.db import Database
from comfyward.workflows.graph_limit import GraphLimit


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


class Storage:
    """Bytes: how they come in, and where they are kept."""

    def __init__(self, settings: Settings, db: Database, quotas: Quotas) -> None:
        self.guard = Guard.allowing(settings.fetch_allow)
        direct = settings.objects_direct != "none"
        self.objects = Objects(settings.derived_objects_url(), settings.objects_endpoint, direct=direct)
        self.quotas = quotas
        self.blobs = Blobs(db, self.objects, quotas)
        self.arrivals = Arrivals(self.objects, self.blobs)
        self.uploads = Uploads(db, self.blobs, self.objects, quotas, settings.upload_limit_bytes)
        self.origins = Origins(self.guard)
        sites = ModelSites(settings.hugging_face_url, settings.civitai_url)
        self.named_secrets = NamedSecrets(db, EncryptionKeys(settings.derived_secret_keys_file()), sites)
        self.site_files = SiteFiles(sites, self.guard, self.origins, self.named_secrets)
        self.mirrors = Mirrors(db, self.origins, self.named_secrets, settings.mirrors_models)
        cache = _host_cache(settings, self.guard)
        self.imports = Imports(db, self.blobs, self.site_files, self.named_secrets, cache)


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


class Core:
    """The objects behind the APIs of one server process, and its loops, which are not started yet."""

    def __init__(
        self, settings: Settings, db: Database, identity: Identity, url: str, templates: Path | None = None
    ) -> None:
        """`url` is this server's address for its own workers, `templates` the folder of ComfyUI's, if it is here."""
        self.settings, self.db = settings, db
        self.auth = Auth(db, identity.link_secret)
        address = (settings.public_url or url).rstrip("/")
        self.shapes = Shapes(self.auth, lambda: address)
        self.changes = changes = Changes(settings, db)
        self.storage = storage = Storage(settings, db, changes.quotas)
        self.workforce = workforce = Workforce(settings, db, changes, storage, identity, url)
        self.public_url, self.editor_address = PublicUrl(settings.public_url), EditorAddress(settings.editor_url)
        self.tickets = Tickets(identity.link_secret)
        self.decoders = Decoders()
        self.workflow_files = WorkflowFiles(self.decoders, GraphLimit(settings.graph_limit_bytes))
        self.contents = Contents(db, storage.objects, self.decoders, direct=settings.objects_direct == "all")
        self.finder = _finder(settings, storage.guard)
        self.catalogs = Catalogs(db, self.finder)
        self.inventory = _inventory(settings, db, self.catalogs, workforce.local_pools)
        self.web_files = WebFiles(db, storage.blobs, storage.objects, workforce.revisions, self.inventory)
        rules = _run_rules(settings, storage)
        self.bindings = Bindings(self.inventory, workforce.revisions)
        headers = ModelHeaders(db, storage.objects)
        self.library = Library(db, self.bindings, self.inventory, headers, storage.quotas)
        self.model_pins = ModelPins(db, self.library, self.inventory)
        pictures = Pictures(storage.objects, self.contents, self.decoders)
        self.model_pictures = ModelPictures(db, pictures, storage.objects)
        self.saved_graphs = SavedGraphs(self.bindings, GraphLimit(settings.graph_limit_bytes))
        admission = Admission(workforce.assigner, changes.secrets)
        self.intake = Intake(db, self.bindings, storage.blobs, admission, changes.publisher, rules)
        render, retry_s = self.shapes.run_json, settings.webhook_retry_s
        rehearsals = Rehearsals(db, self.intake, storage.objects, self.decoders)
        registry = ComfyRegistry(settings.node_registry_url, storage.guard)
        root, fetching = settings.derived_environments_dir(), Fetching.of(settings)
        self.workshop = Workshop.below(root, registry, fetching)
        lockers = Lockers(root, settings.node_registry_url, fetching)
        self.shared_trees = SharedTrees(db, storage.blobs, storage.objects, self.workshop)
        build_s = settings.environment_build_s
        self.lockings = Lockings(db, lockers, self.shared_trees, workforce.revisions, build_s)
        self.learnings = Learnings(db, workforce.revisions)
        self.missing = Missing(self, templates)
        self.webhooks = Webhooks(db, changes.webhooks_due, storage.guard, render, retry_s)
        self.loops: list[Loop] = [
            workforce.assigner,
            Rescue(db, changes.publisher),
            Deadlines(db, changes.publisher, settings.fallback_after_s),
            Rechecks(db, workforce.revisions, self.bindings, changes.publisher, settings.environment_mend_s),
            Retention(
                db,
                changes.publisher,
                storage.blobs,
                storage.arrivals,
                storage.uploads,
                settings.retention_days,
            ),
            storage.imports,
            self.lockings,
            SelfPromotions(db, workforce.revisions, rehearsals, workforce.trials.ready_hint),
            self.webhooks,
            *([changes.relay] if db.is_shared else []),
            *workforce.fleet_loops,
        ]

    async def check(self) -> None:
        """Raises SetupFailed for a store that cannot be reached, and for settings that name an unknown pool."""
        settings = self.settings
        await self.storage.objects.check()
        known = {*settings.accelerators, *self.workforce.local_pools}
        known |= {pool.name for pool in await self.inventory.pools()} | set(await self.db.read(workers.known_pools))
        named = {"COMFYWARD_LARGER_POOLS": [*settings.larger_pools, *settings.larger_pools.values()]}
        named["COMFYWARD_DEFAULT_ACCELERATOR"] = [settings.default_accelerator] if settings.default_accelerator else []
        for setting, pools in named.items():
            for pool in pools:
                if settings.accelerator_aliases.get(pool, pool) not in known:
                    there = ", ".join(sorted(known)) or "none yet"
                    raise SetupFailed(
                        f"{setting} names pool '{pool}', which no worker serves and none is configured for.",
                        hint=f"Add it to COMFYWARD_ACCELERATORS, or use one that is there: {there}.",
                    )


class Missing:
    """Missing parts of workflows: they are looked for, and got."""

    def __init__(self, core: Core, templates: Path | None) -> None:
        db, storage, lockings = core.db, core.storage, core.lockings
        facts = ModelFacts(storage.site_files, storage.origins)
        self.template_models = TemplateModels(templates)
        whereabouts = Whereabouts(core.finder, self.template_models, facts)
        self.checks = Checks(db, core.inventory, core.bindings, core.workforce.revisions, whereabouts)
        self.getting = Getting(db, storage.imports, lockings, storage.quotas)
        self.errands = Errands(db, storage.imports, lockings)


def _missed_events(db: Database) -> ReadMissed:
    async def read(after: Mapping[str, int]) -> Sequence[Event]:
        return await db.read(events.missed, after)

    return read


def _inventory(settings: Settings, db: Database, catalogs: Catalogs, local_pools: Sequence[str]) -> Inventory:
    return Inventory(
        db,
        catalogs,
        sorted({*settings.accelerators, *local_pools}),
        settings.accelerator_aliases,
        settings.default_accelerator,
        stand_in=settings.stand_in if local_pools or settings.stand_in else False,
    )


def _finder(settings: Settings, guard: Guard) -> Finder:
    registry = RegistryAnswers(settings.node_registry_url, guard)
    map_files = MapFiles(settings.derived_environments_dir(), settings.node_map_dir)
    return Finder(own_table(settings.node_table), registry, map_files)


def _host_cache(settings: Settings, guard: Guard) -> HostCache:
    least = LeastSpeed(settings.fetch_least_bytes_per_s, settings.fetch_window_s)
    limits = FetchLimits(settings.fetch_limit_bytes, settings.fetch_timeout_s, settings.fetch_connections, least)
    return HostCache(settings.data_dir.resolve() / "cache", settings.cache_limit_bytes, guard, limits)


def _placement_rules(settings: Settings) -> Rules:
    return Rules(
        affinity_wait_ms=int(settings.affinity_wait_s * 1000),
        ageing_ms=int(settings.priority_ageing_s * 1000),
        pass_ms=int(settings.affinity_pass_s * 1000),
        isolated=settings.isolation == "account",
    )


def _run_rules(settings: Settings, storage: Storage) -> RunRules:
    return RunRules(
        guard=storage.guard,
        site_files=storage.site_files,
        quotas=storage.quotas,
        timeout_s=settings.run_timeout_s,
        max_timeout_s=settings.max_run_timeout_s,
        max_attempts=settings.max_attempts,
        max_waiting=settings.max_waiting_runs,
        larger_pools=settings.larger_pools,
        graph_limit=GraphLimit(settings.graph_limit_bytes),
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
