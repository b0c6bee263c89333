"""The parts of ComfyUI's own API."""

from __future__ import annotations

from comfyward.api.limits import RequestLimits
from comfyward.api.native.account_catalog import AccountCatalogs
from comfyward.api.native.app import NativeParts
from comfyward.api.native.assets import Assets
from comfyward.api.native.cancels import Cancels
from comfyward.api.native.editor_settings import EditorSettings
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
from comfyward.server.construction import Core


def native_parts(core: Core, frontends: Frontends, *, is_open: bool = False) -> NativeParts:
    """With `is_open` requests from this machine need no key."""
    settings, db, auth, objects = core.settings, core.db, core.auth, core.storage.objects
    scopes = Scopes(db, auth, settings.cors_origins, is_open=is_open)
    limits = RequestLimits(settings.body_limit_bytes, settings.upload_limit_bytes)
    intake, inventory, blobs, contents = core.intake, core.inventory, core.storage.blobs, core.contents
    pictures, names = Pictures(objects, contents), NamedFiles(db)
    catalogs, fixed = AccountCatalogs(db, scopes, inventory), FixedAnswers(scopes)
    shared = {
        "ComfyUI: prompts": [
            *Prompts(db, scopes, intake, limits.body).endpoints(),
            *Queue(db, scopes, inventory, core.workforce.rules.ageing_ms).endpoints(),
            *Cancels(db, scopes, intake, limits.body).endpoints(),
            *History(db, scopes, inventory, limits.body).endpoints(),
            *Jobs(db, scopes).endpoints(),
        ],
        "ComfyUI: files": [
            *Views(db, scopes, names, contents, pictures, objects).endpoints(),
            *Uploads(db, scopes, names, contents, blobs, limits.upload).endpoints(),
            *Imports(db, scopes, core.storage.imports).endpoints(),
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
    frontend = Frontend(db, scopes, core.public_url, frontends)
    return NativeParts(
        shared=shared,
        below_api=Assets(db, scopes, blobs, contents, limits).endpoints(),
        at_root=[*fixed.internal(), *frontend.endpoints()],
        sockets=Sockets(db, scopes, core.changes.hub, objects, limits.upload),
    )
