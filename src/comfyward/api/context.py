"""What the routes work with: made once by the composition root, handed to every router."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from comfyward.api.auth import Auth
from comfyward.api.contents import Contents
from comfyward.api.public_url import PublicUrl
from comfyward.api.readiness import Readiness
from comfyward.delivery.hub import Hub
from comfyward.delivery.webhooks import Webhooks
from comfyward.dispatch.assigner import Assigner
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.forecast import QueueForecasts
from comfyward.dispatch.imports import Imports
from comfyward.dispatch.intake import Intake
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.mirrors import Mirrors
from comfyward.dispatch.placement import Rules
from comfyward.dispatch.recorder import Recorder
from comfyward.dispatch.secrets import Secrets
from comfyward.dispatch.uploads import Uploads
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.files.objects import Objects
from comfyward.fleet.fleet import OwnFleet
from comfyward.settings import Settings
from comfyward.store.db import Database


@dataclass(frozen=True)
class Context:
    settings: Settings
    db: Database
    auth: Auth
    intake: Intake
    inventory: Inventory
    sessions: WorkerSessions
    logs: WorkerLogs
    assigner: Assigner
    rules: Rules
    forecasts: QueueForecasts
    fleet: OwnFleet
    readiness: Readiness
    recorder: Recorder
    blobs: Blobs
    objects: Objects
    hub: Hub
    secrets: Secrets
    imports: Imports
    uploads: Uploads
    mirrors: Mirrors
    webhooks: Webhooks

    @property
    def contents(self) -> Contents:
        return Contents(self.db, self.objects, direct=self.settings.objects_direct == "all")

    @property
    def public_url(self) -> PublicUrl:
        return PublicUrl(self.settings.public_url)

    def base_url(self, request: Request) -> str:
        """How this client reaches this server, without a slash at the end."""
        return self.public_url.of(request)
