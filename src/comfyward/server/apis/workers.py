"""The APIs of workers and of fleets. Any server can answer any call."""

from __future__ import annotations

from comfyward.api.endpoint import Endpoint
from comfyward.api.fleet import Fleets
from comfyward.api.gateway.assignments import Assignments
from comfyward.api.gateway.blobs import RunFiles
from comfyward.api.gateway.calls import Calls
from comfyward.api.gateway.mirrors import ModelMirrors
from comfyward.api.gateway.outputs import Outputs
from comfyward.api.gateway.sessions import Sessions
from comfyward.api.gateway.storage import Storage
from comfyward.server.construction import Core


def workers_table(core: Core) -> list[Endpoint]:
    """The table of the workers' API, below `PREFIX`."""
    workforce, mirrors = core.workforce, core.storage.mirrors
    calls = Calls(core.db, core.auth, workforce.sessions)
    storage = Storage(core.storage.blobs, core.storage.objects, core.settings.fetch_limit_bytes)
    return [
        *Sessions(core.db, core.auth, calls, workforce.sessions, workforce.logs).endpoints(),
        *Assignments(calls, workforce.assigner, workforce.recorder, core.changes.secrets, mirrors).endpoints(),
        *Outputs(calls, storage, core.storage.blobs).endpoints(),
        *RunFiles(calls, mirrors, core.storage.objects, core.contents).endpoints(),
        *ModelMirrors(calls, storage, mirrors).endpoints(),
    ]


def fleets_table(core: Core) -> list[Endpoint]:
    """The table of the fleets' API, below `PREFIX`."""
    return Fleets(core.db, core.auth, core.workforce.sessions).endpoints()
