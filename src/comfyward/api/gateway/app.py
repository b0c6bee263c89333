"""The workers' API (worker/protocol.py describes the wire). Any server can answer any call."""

from __future__ import annotations

from starlette.routing import Mount

from comfyward.api.context import Context
from comfyward.api.endpoint import Endpoint, routes
from comfyward.api.gateway.assignments import Assignments
from comfyward.api.gateway.blobs import RunFiles
from comfyward.api.gateway.calls import Calls
from comfyward.api.gateway.mirrors import ModelMirrors
from comfyward.api.gateway.outputs import Outputs
from comfyward.api.gateway.sessions import Sessions
from comfyward.api.gateway.storage import Storage
from comfyward.worker.protocol import PREFIX


def mount(parts: list[Endpoint]) -> Mount:
    return Mount(PREFIX, routes=routes(parts))


def gateway_parts(context: Context) -> list[Endpoint]:
    """The table of the workers' API, below `PREFIX`."""
    calls = Calls(context.db, context.auth, context.sessions)
    storage = Storage(context.blobs, context.objects, context.settings.fetch_limit_bytes)
    return [
        *Sessions(context.db, context.auth, calls, context.sessions, context.logs).endpoints(),
        *Assignments(calls, context.assigner, context.recorder, context.secrets, context.mirrors).endpoints(),
        *Outputs(calls, storage, context.blobs).endpoints(),
        *RunFiles(calls, context.mirrors, context.objects, context.contents).endpoints(),
        *ModelMirrors(calls, storage, context.mirrors).endpoints(),
    ]
