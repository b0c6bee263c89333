"""The parts of /api/v2: Comfy API v2."""

from __future__ import annotations

from comfyward.api.endpoint import Endpoint, Tables
from comfyward.api.limits import RequestLimits
from comfyward.api.v2.app import HEALTH, PREFIX, health
from comfyward.api.v2.assets import Assets
from comfyward.api.v2.errors import ERRORS
from comfyward.api.v2.jobs import Jobs
from comfyward.api.v2.shapes import Rendering
from comfyward.server.construction import Core


def v2_tables(core: Core) -> Tables:
    """All of Comfy API v2."""
    settings, db, auth = core.settings, core.db, core.auth
    rendering = Rendering(auth, core.public_url, settings.retention_days)
    limits = RequestLimits.of(settings)
    subjects = {
        "v2: jobs": Jobs(db, auth, core.intake, core.changes.hub, rendering, limits.body).endpoints(),
        "v2: assets": Assets(db, auth, core.storage.blobs, core.contents, rendering, limits).endpoints(),
        "v2: health": [Endpoint("GET", "/health", health, "The server is up", HEALTH)],
    }
    return Tables(PREFIX, ERRORS, subjects)
