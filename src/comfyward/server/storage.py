"""Bytes: the object store of a server, and the ways into it."""

from __future__ import annotations

from comfyward.dispatch.arrivals import Arrivals
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.imports import Imports
from comfyward.dispatch.mirrors import Mirrors
from comfyward.dispatch.named_secrets import NamedSecrets
from comfyward.dispatch.origins import Origins
from comfyward.dispatch.quotas import Quotas
from comfyward.dispatch.site_files import SiteFiles
from comfyward.dispatch.uploads import Uploads
from comfyward.environments.fetching import Fetching
from comfyward.files.encryption_keys import EncryptionKeys
from comfyward.files.guard import Guard
from comfyward.files.model_sites import ModelSites
from comfyward.files.objects import Objects
from comfyward.settings import Settings
from comfyward.store.db import Database


class Storage:
    """Bytes: how they come in, and where they are kept."""

    def __init__(self, settings: Settings, db: Database, quotas: Quotas) -> None:
        self.guard = Guard.allowing(settings.fetch_allow)
        direct = settings.objects_direct != "none"
        self.objects = Objects(settings.derived_objects_url(), settings.objects_endpoint, direct=direct)
        self.quotas = quotas
        self.blobs = Blobs(db, self.objects, quotas)
        self.arrivals = Arrivals(self.objects, self.blobs)
        self.uploads = Uploads(db, self.blobs, self.objects, quotas, settings.upload_limit_bytes)
        self.origins = Origins(self.guard)
        sites = ModelSites(settings.hugging_face_url, settings.civitai_url)
        self.named_secrets = NamedSecrets(db, EncryptionKeys(settings.derived_secret_keys_file()), sites)
        self.site_files = SiteFiles(sites, self.guard, self.origins, self.named_secrets)
        self.mirrors = Mirrors(db, self.origins, self.named_secrets, settings.mirrors_models)
        cache = Fetching.of(settings).opened()
        self.imports = Imports(db, self.blobs, self.site_files, self.named_secrets, cache)
