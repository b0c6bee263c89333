"""The parts of /api/v1: ComfyICU's API, extended. Its clients work when only the host name is changed."""

from __future__ import annotations

from comfyward.api.endpoint import Endpoint, Tables
from comfyward.api.limits import RequestLimits
from comfyward.api.own_urls import OwnUrls
from comfyward.api.public_url import API_PREFIX
from comfyward.api.v1.account import Account
from comfyward.api.v1.accounts import Accounts
from comfyward.api.v1.checks import WorkflowChecks
from comfyward.api.v1.conversions import Conversions
from comfyward.api.v1.environment_exchange import EnvironmentExchange
from comfyward.api.v1.environment_learnings import EnvironmentLearnings
from comfyward.api.v1.environment_lockings import EnvironmentLockings
from comfyward.api.v1.environment_packs import EnvironmentPacks
from comfyward.api.v1.environments import Environments
from comfyward.api.v1.errors import ERRORS
from comfyward.api.v1.files import Files
from comfyward.api.v1.imports import Imports
from comfyward.api.v1.inventory import Inventory
from comfyward.api.v1.model_pins import LibraryPins
from comfyward.api.v1.models import LibraryModels
from comfyward.api.v1.pack_requests import PackRequests
from comfyward.api.v1.packs import Packs
from comfyward.api.v1.placement import Placement
from comfyward.api.v1.runs import Runs
from comfyward.api.v1.secrets import Secrets
from comfyward.api.v1.shapes import Rendering
from comfyward.api.v1.submissions import Submissions
from comfyward.api.v1.uploads import Uploads
from comfyward.api.v1.view import View
from comfyward.api.v1.webhooks import Webhooks
from comfyward.api.v1.workflow_files import WorkflowFiles
from comfyward.api.v1.workflows import Workflows
from comfyward.server.construction import Core


def v1_tables(core: Core) -> Tables:
    """All of v1. Creating a run and reading it come first: they are on every run's way."""
    auth, db, settings = core.auth, core.db, core.settings
    rendering, own_urls = Rendering(auth, core.public_url), OwnUrls(auth, db)
    limits = RequestLimits.of(settings)
    body, upload, missing = limits.body, limits.upload, core.missing
    subjects = {
        "runs": [
            *Submissions(auth, db, core.intake, own_urls, core.public_url, body).endpoints(),
            *Runs(auth, db, core.changes.hub, core.intake, rendering).endpoints(),
            *Placement(auth, db, core.workforce.forecasts).endpoints(),
        ],
        "workflows": [
            *Workflows(auth, db, rendering, core.bindings, core.saved_graphs, body).endpoints(),
            *WorkflowFiles(auth, core.workflow_files).endpoints(),
            *WorkflowChecks(auth, missing.checks, missing.acquisition, missing.errands, limits).endpoints(),
            *Conversions(auth, core.bindings, limits).endpoints(),
        ],
        "files": [
            *Files(auth, db, core.storage.blobs, body, upload).endpoints(),
            *Imports(auth, db, core.storage.imports, body).endpoints(),
            *Uploads(auth, db, core.storage.uploads, upload).endpoints(),
        ],
        "view": View(auth, db, core.contents).endpoints(),
        "inventory": [
            *Inventory(auth, db, core.inventory, core.bindings, settings.prices).endpoints(),
            *LibraryModels(auth, core.models.library, core.models.pictures, core.storage.quotas).endpoints(),
            *LibraryPins(auth, core.models.pins).endpoints(),
        ],
        "packs": Packs(auth, db, core.bindings, core.finder).endpoints(),
        "environments": _of_environments(core),
        "account": Account(auth, db, core.storage.quotas).endpoints(),
        "secrets": Secrets(auth, db, core.storage.named_secrets).endpoints(),
        "accounts": Accounts(auth, db, core.storage.quotas).endpoints(),
        "webhooks": Webhooks(auth, db, core.webhooks, rendering).endpoints(),
    }
    return Tables(API_PREFIX, ERRORS, subjects)


def _of_environments(core: Core) -> list[Endpoint]:
    auth, db = core.auth, core.db
    return [
        *Environments(auth, db, core.workforce.revisions, core.environments.lockings).endpoints(),
        *EnvironmentPacks(auth, db, core.environments.shared_trees, core.settings.upload_limit_bytes).endpoints(),
        *EnvironmentExchange(auth, db).endpoints(),
        *PackRequests(auth, db, core.missing.checks).endpoints(),
        *EnvironmentLockings(auth, db, core.environments.lockings).endpoints(),
        *EnvironmentLearnings(auth, db, core.environments.learnings).endpoints(),
    ]
