"""The composition root: settings and a database become the objects of a server, each made of those before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comfyward.api.auth import Auth
from comfyward.api.contents import Contents
from comfyward.api.editor_address import EditorAddress
from comfyward.api.native.model_pictures import ModelPictures
from comfyward.api.native.pictures import Pictures
from comfyward.api.public_url import PublicUrl
from comfyward.api.tickets import Tickets
from comfyward.api.v1.shapes import Shapes
from comfyward.delivery.webhooks import Webhooks
from comfyward.dispatch.acquisition import Acquisition
from comfyward.dispatch.admission import Admission
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.catalogs import Catalogs
from comfyward.dispatch.checks import Checks, Whereabouts
from comfyward.dispatch.conversion import SavedGraphs
from comfyward.dispatch.errands import Errands
from comfyward.dispatch.intake import Intake, RunRules
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.known_models import TemplateModels
from comfyward.dispatch.learnings import Learnings
from comfyward.dispatch.library import Library
from comfyward.dispatch.lockings import Lockings
from comfyward.dispatch.maintenance import Deadlines, Rescue, Retention
from comfyward.dispatch.model_facts import ModelFacts
from comfyward.dispatch.model_headers import ModelHeaders
from comfyward.dispatch.model_pins import ModelPins
from comfyward.dispatch.rechecks import Rechecks
from comfyward.dispatch.rehearsals import Rehearsals
from comfyward.dispatch.revisions import Revisions
from comfyward.dispatch.self_promotions import SelfPromotions
from comfyward.dispatch.shared_trees import SharedTrees
from comfyward.dispatch.web_files import WebFiles
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
from comfyward.files.guard import Guard
from comfyward.files.pictures import Decoders
from comfyward.loop import Loop
from comfyward.server.changes import Changes
from comfyward.server.identity import Identity
from comfyward.server.storage import Storage
from comfyward.server.workforce import Workforce
from comfyward.settings import Settings
from comfyward.store import workers
from comfyward.store.db import Database
from comfyward.workflows.graph_limit import GraphLimit


class Environments:
    """Revisions of environments: how they are made, and what workers and the editor get of them."""

    def __init__(
        self, settings: Settings, db: Database, storage: Storage, revisions: Revisions, inventory: Inventory
    ) -> None:
        root, fetching = settings.derived_environments_dir(), Fetching.of(settings)
        registry = ComfyRegistry(settings.node_registry_url, storage.guard)
        lockers = Lockers(root, settings.node_registry_url, fetching)
        workshop = Workshop.below(root, registry, fetching)
        self.web_files = WebFiles(db, storage.blobs, storage.objects, revisions, inventory)
        self.shared_trees = SharedTrees(db, storage.blobs, storage.objects, workshop)
        self.lockings = Lockings(db, lockers, self.shared_trees, revisions, settings.environment_build_s)
        self.learnings = Learnings(db, revisions)


class Models:
    """Models as a library, with their pictures, and pinned to the memory of hosts."""

    def __init__(
        self, db: Database, storage: Storage, bindings: Bindings, inventory: Inventory, pictures: Pictures
    ) -> None:
        headers = ModelHeaders(db, storage.objects)
        self.library = Library(db, bindings, inventory, headers, storage.quotas)
        self.pins = ModelPins(db, self.library, inventory)
        self.pictures = ModelPictures(db, pictures, storage.objects)


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
        pictures = Pictures(storage.objects, self.contents, self.decoders)
        self.finder = _finder(settings, storage.guard)
        self.catalogs = Catalogs(db, self.finder)
        self.inventory = _inventory(settings, db, self.catalogs, workforce.local_pools)
        self.bindings = Bindings(self.inventory, workforce.revisions)
        self.environments = Environments(settings, db, storage, workforce.revisions, self.inventory)
        self.models = Models(db, storage, self.bindings, self.inventory, pictures)
        self.saved_graphs = SavedGraphs(self.bindings, GraphLimit(settings.graph_limit_bytes))
        admission = Admission(workforce.assigner, changes.secrets)
        rules = _run_rules(settings, storage)
        self.intake = Intake(db, self.bindings, storage.blobs, admission, changes.publisher, rules)
        rehearsals = Rehearsals(db, self.intake, storage.objects, self.decoders)
        self.missing = Missing(self, templates)
        render, retry_s = self.shapes.run_json, settings.webhook_retry_s
        self.webhooks = Webhooks(db, changes.webhooks_due, storage.guard, render, retry_s)
        self.loops: list[Loop] = [
            workforce.assigner,
            workforce.recaller,
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
            self.environments.lockings,
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
        db, storage, lockings = core.db, core.storage, core.environments.lockings
        facts = ModelFacts(storage.site_files, storage.origins)
        self.template_models = TemplateModels(templates)
        whereabouts = Whereabouts(core.finder, self.template_models, facts)
        self.checks = Checks(db, core.inventory, core.bindings, core.workforce.revisions, whereabouts)
        self.acquisition = Acquisition(db, storage.imports, lockings, storage.quotas)
        self.errands = Errands(db, storage.imports, lockings)


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
