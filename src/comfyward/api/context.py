"""What the routes work with: made once by the composition root, handed to every router."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import Request

from comfyward.api.auth import Auth
from comfyward.api.contents import Contents
from comfyward.api.public_url import PublicUrl
from comfyward.delivery.hub import Hub
from comfyward.delivery.webhooks import Webhooks
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.imports import Imports
from comfyward.dispatch.intake import Intake
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.leases import Leases
from comfyward.dispatch.mirrors import Mirrors
from comfyward.dispatch.recorder import Recorder
from comfyward.dispatch.secrets import Secrets
from comfyward.dispatch.uploads import Uploads
from comfyward.files.objects import Objects
from comfyward.settings import Settings
from comfyward.store.db import Database


@dataclass(frozen=True)
class Context:
    settings: Settings
    db: Database
    auth: Auth
    intake: Intake
    inventory: Inventory
    leases: Leases
    recorder: Recorder
    blobs: Blobs
    objects: Objects
    hub: Hub
    secrets: Secrets
    imports: Imports
    uploads: Uploads
    mirrors: Mirrors
    webhooks: Webhooks
    fleet_changed: Callable[[], None]
    fleet_slots: Callable[[], Mapping[str, int]]  # how many workers each pool can have here
    fleet_problem: Callable[[], str | None]
    is_draining: Callable[[], bool]

    @property
    def contents(self) -> Contents:
        return Contents(self.db, self.objects, direct=self.settings.objects_direct == "all")

    @property
    def public_url(self) -> PublicUrl:
        return PublicUrl(self.settings.public_url)

    def base_url(self, request: Request) -> str:
        """How this client reaches this server, without a slash at the end."""
        return self.public_url.of(request)
