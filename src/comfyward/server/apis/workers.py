"""The APIs of workers and of fleets. Any server can answer any call."""

from __future__ import annotations

from comfyward.api.endpoint import Endpoint
from comfyward.api.fleet import Fleets
from comfyward.api.gateway.assignments import Assignments
from comfyward.api.gateway.blobs import StoredFiles
from comfyward.api.gateway.calls import Calls
from comfyward.api.gateway.environments import Environments
from comfyward.api.gateway.mirrors import ModelMirrors
from comfyward.api.gateway.outputs import Outputs
from comfyward.api.gateway.sessions import Sessions
from comfyward.api.gateway.storage import Storage
from comfyward.dispatch.file_orders import FileOrders
from comfyward.server.construction import Core


def workers_table(core: Core) -> list[Endpoint]:
    """The table of the workers' API, below `PREFIX`."""
    workforce, mirrors = core.workforce, core.storage.mirrors
    calls = Calls(core.db, core.auth, workforce.sessions)
    storage = Storage(calls, core.storage.blobs, core.storage.arrivals, core.settings.fetch_limit_bytes)
    isolated = core.settings.isolation == "account"
    orders = FileOrders(core.storage.named_secrets, mirrors)
    assignments = Assignments(
        calls, workforce.assigner, workforce.recorder, core.changes.secrets, orders, isolated=isolated
    )
    return [
        *Sessions(core.auth, calls, workforce.sessions, core.catalogs, workforce.trials, workforce.logs).endpoints(),
        *assignments.endpoints(),
        *Outputs(calls, storage).endpoints(),
        *StoredFiles(calls, mirrors, workforce.pinned, core.storage.objects, core.contents).endpoints(),
        *ModelMirrors(core.auth, calls, storage, mirrors).endpoints(),
        *Environments(
            core.db,
            calls,
            workforce.trials,
            core.environments.learnings,
            core.environments.web_files,
            core.environments.shared_trees,
        ).endpoints(),
    ]


def fleets_table(core: Core) -> list[Endpoint]:
    """The table of the fleets' API, below `PREFIX`."""
    return Fleets(core.db, core.auth, core.workforce.sessions).endpoints()
