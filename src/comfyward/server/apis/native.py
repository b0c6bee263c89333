"""The parts of ComfyUI's own API."""

from __future__ import annotations

from comfyward.api.contents import Contents
from comfyward.api.endpoint import Endpoint
from comfyward.api.limits import RequestLimits
from comfyward.api.native.account_catalog import AccountCatalogs
from comfyward.api.native.app import NativeParts
from comfyward.api.native.assets import Assets
from comfyward.api.native.cancels import Cancels
from comfyward.api.native.editor_settings import EditorSettings
from comfyward.api.native.file_lists import FileLists
from comfyward.api.native.fixed_answers import FixedAnswers
from comfyward.api.native.framed_editor import FramedEditor
from comfyward.api.native.frontend import Frontend, Frontends
from comfyward.api.native.history import History
from comfyward.api.native.imports import Imports
from comfyward.api.native.jobs import Jobs
from comfyward.api.native.model_files import ModelFiles
from comfyward.api.native.named_files import NamedFiles
from comfyward.api.native.nodes import Nodes
from comfyward.api.native.pack_files import PackFiles
from comfyward.api.native.pictures import Pictures
from comfyward.api.native.previews import Previews
from comfyward.api.native.prompts import Prompts
from comfyward.api.native.queue import Queue
from comfyward.api.native.scope import ByKey, ByTicket, Scopes
from comfyward.api.native.socket import Sockets
from comfyward.api.native.system import System
from comfyward.api.native.tooling import Tooling
from comfyward.api.native.uploads import Uploads
from comfyward.api.native.userdata import Userdata
from comfyward.api.native.views import Views
from comfyward.server.construction import Core


def native_parts(core: Core, frontends: Frontends, *, is_open: bool = False) -> NativeParts:
    """With `is_open` requests from this machine need no key."""
    db, limits = core.db, RequestLimits.of(core.settings)
    scopes = Scopes(db, ByKey(db, core.auth, core.settings.cors_origins, is_open=is_open))
    fixed, catalogs = FixedAnswers(scopes), AccountCatalogs(db, scopes, core.bindings)
    shared = _shared(core, scopes, core.contents, fixed, catalogs, fixed.listed())
    tooling = Tooling(db, scopes, catalogs, core.storage.blobs, limits.upload).endpoints()
    nodes = "ComfyUI: nodes and models"
    return NativeParts(
        shared={**shared, nodes: [*shared[nodes], *tooling]},
        below_api=Assets(db, scopes, core.storage.blobs, core.contents, limits).endpoints(),
        at_root=[*_internal(core, scopes, fixed), *Frontend(db, scopes, core.public_url, frontends).endpoints()],
        sockets=_sockets(core, scopes),
    )


def framed_parts(core: Core, frontends: Frontends) -> tuple[NativeParts, PackFiles]:
    """(the parts for frames of the editor, by ticket: what it calls, with no bytes from another host; the files of its
    packs, which also have an address beside workflows)."""
    db, storage = core.db, core.storage
    scopes = Scopes(db, ByTicket(db, core.tickets))
    fixed, catalogs = FixedAnswers(scopes), AccountCatalogs(db, scopes, core.bindings)
    contents = Contents(db, storage.objects, core.decoders, direct=False)
    lasting = Scopes(db, ByTicket(db, core.tickets, lasts=True))
    packs = PackFiles(db, scopes, lasting, core.environments.web_files, core.tickets, frontends.editor)
    parts = NativeParts(
        shared=_shared(core, scopes, contents, fixed, catalogs, packs.listed()),
        below_api=packs.others(),
        at_root=[*_internal(core, scopes, fixed), *FramedEditor(scopes, frontends, packs).endpoints()],
        sockets=_sockets(core, scopes),
    )
    return parts, packs


def _shared(
    core: Core,
    scopes: Scopes,
    contents: Contents,
    fixed: FixedAnswers,
    catalogs: AccountCatalogs,
    extensions: Endpoint,
) -> dict[str, list[Endpoint]]:
    settings, db, objects, intake, inventory = core.settings, core.db, core.storage.objects, core.intake, core.inventory
    limits, blobs = RequestLimits.of(settings), core.storage.blobs
    pictures, names = Pictures(objects, contents, core.decoders), NamedFiles(db)
    return {
        "ComfyUI: prompts": [
            *Prompts(db, scopes, intake, limits.body).endpoints(),
            *Queue(db, scopes, inventory, core.workforce.rules.ageing_ms).endpoints(),
            *Cancels(db, scopes, intake, limits.body).endpoints(),
            *History(db, scopes, inventory, limits.body).endpoints(),
            *Jobs(db, scopes).endpoints(),
        ],
        "ComfyUI: files": [
            *Views(db, scopes, names, contents, pictures, objects).endpoints(),
            *Uploads(db, scopes, names, pictures, blobs, limits.upload).endpoints(),
            *Imports(db, scopes, core.storage.imports).endpoints(),
        ],
        "ComfyUI: nodes and models": [
            *Nodes(scopes, catalogs).endpoints(),
            *ModelFiles(catalogs).endpoints(),
            *Previews(scopes, core.models.pictures).endpoints(),
            *System(db, scopes, inventory, limits.upload).endpoints(),
        ],
        "ComfyUI: user data": [
            *EditorSettings(db, scopes, limits.body).endpoints(),
            *Userdata(db, scopes, blobs, contents, limits).endpoints(),
            *fixed.endpoints(),
            extensions,
        ],
    }


def _internal(core: Core, scopes: Scopes, fixed: FixedAnswers) -> list[Endpoint]:
    return [*fixed.internal(), *FileLists(core.db, scopes).endpoints()]


def _sockets(core: Core, scopes: Scopes) -> Sockets:
    limit = RequestLimits.of(core.settings).upload
    return Sockets(core.db, core.auth, scopes, core.changes.hub, core.storage.objects, limit)
