"""ComfyUI's own API over the account's runs and files, each route both at /X and at /api/X, as ComfyUI has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.routing import Mount

from comfyward.api.context import Context
from comfyward.api.endpoint import Endpoint, Tables, routes
from comfyward.api.limits import RequestLimits
from comfyward.api.native.account_catalog import AccountCatalogs
from comfyward.api.native.asset_errors import ASSET_ERRORS
from comfyward.api.native.assets import Assets
from comfyward.api.native.cancels import Cancels
from comfyward.api.native.editor_settings import EditorSettings
from comfyward.api.native.errors import ERRORS
from comfyward.api.native.fixed_answers import FixedAnswers
from comfyward.api.native.frontend import Frontend, Frontends
from comfyward.api.native.history import History
from comfyward.api.native.imports import Imports
from comfyward.api.native.jobs import Jobs
from comfyward.api.native.model_files import ModelFiles
from comfyward.api.native.named_files import NamedFiles
from comfyward.api.native.nodes import Nodes
from comfyward.api.native.pictures import Pictures
from comfyward.api.native.previews import Previews
from comfyward.api.native.prompts import Prompts
from comfyward.api.native.queue import Queue
from comfyward.api.native.scope import Scopes
from comfyward.api.native.socket import Sockets
from comfyward.api.native.system import System
from comfyward.api.native.tooling import Tooling
from comfyward.api.native.uploads import Uploads
from comfyward.api.native.userdata import Userdata
from comfyward.api.native.views import Views


@dataclass(frozen=True)
class NativeParts:
    """The tables of ComfyUI's API by their subject: `shared` at /X and at /api/X, the others at one of both."""

    shared: Mapping[str, list[Endpoint]]
    below_api: list[Endpoint]
    at_root: list[Endpoint]
    sockets: Sockets

    def tables(self, prefix: str) -> list[Tables]:
        """The tables for their description, each endpoint once: the shared ones at /X."""
        subjects = {**self.shared, "ComfyUI: editor": self.at_root}
        assets = Tables(f"{prefix}/api", ASSET_ERRORS, {"ComfyUI: assets": self.below_api})
        return [Tables(prefix, ERRORS, subjects), assets]


def native_parts(context: Context, frontends: Frontends, *, is_open: bool = False) -> NativeParts:
    """With `is_open` requests from this machine need no key."""
    settings, db, auth, objects = context.settings, context.db, context.auth, context.objects
    scopes = Scopes(db, auth, settings.cors_origins, is_open=is_open)
    limits = RequestLimits(settings.body_limit_bytes, settings.upload_limit_bytes)
    intake, inventory, blobs, contents = context.intake, context.inventory, context.blobs, context.contents
    pictures, names = Pictures(objects, contents), NamedFiles(db)
    catalogs, fixed = AccountCatalogs(db, scopes, inventory), FixedAnswers(scopes)
    shared = {
        "ComfyUI: prompts": [
            *Prompts(db, scopes, intake, limits.body).endpoints(),
            *Queue(db, scopes, inventory, context.rules.ageing_ms).endpoints(),
            *Cancels(db, scopes, intake, limits.body).endpoints(),
            *History(db, scopes, inventory, limits.body).endpoints(),
            *Jobs(db, scopes).endpoints(),
        ],
        "ComfyUI: files": [
            *Views(db, scopes, names, contents, pictures, objects).endpoints(),
            *Uploads(db, scopes, names, contents, blobs, limits.upload).endpoints(),
            *Imports(db, scopes, context.imports).endpoints(),
        ],
        "ComfyUI: nodes and models": [
            *Nodes(scopes, catalogs).endpoints(),
            *ModelFiles(catalogs).endpoints(),
            *Previews(db, scopes, pictures, objects).endpoints(),
            *System(db, scopes, inventory, limits.upload).endpoints(),
            *Tooling(db, scopes, catalogs, blobs, limits.upload).endpoints(),
        ],
        "ComfyUI: user data": [
            *EditorSettings(db, scopes, limits.body).endpoints(),
            *Userdata(db, scopes, blobs, contents, limits.body).endpoints(),
            *fixed.endpoints(),
        ],
    }
    frontend = Frontend(db, scopes, context.public_url, frontends)
    return NativeParts(
        shared=shared,
        below_api=Assets(db, scopes, blobs, contents, limits).endpoints(),
        at_root=[*fixed.internal(), *frontend.endpoints()],
        sockets=Sockets(db, scopes, context.hub, objects, limits.upload),
    )


def native_app(parts: NativeParts) -> Starlette:
    """An application with ComfyUI's routes, to be mounted anywhere, or served at the root of a port of its own."""
    endpoints = (endpoint for table in parts.shared.values() for endpoint in table)
    shared = [*routes(endpoints), *parts.sockets.routes()]
    below_api = Mount("/api", routes=[*shared, *routes(parts.below_api)])
    return Starlette(
        routes=[*shared, below_api, *routes(parts.at_root)],
        exception_handlers=ERRORS.handlers(),
    )
