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
from comfyward.files.cache import HostCache
from comfyward.files.encryption_keys import EncryptionKeys
from comfyward.files.fetch import Limits as FetchLimits
from comfyward.files.guard import Guard
from comfyward.files.model_sites import ModelSites
from comfyward.files.objects import Objects
from comfyward.files.pace import LeastSpeed
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
        cache = _host_cache(settings, self.guard)
        self.imports = Imports(db, self.blobs, self.site_files, self.named_secrets, cache)


def _host_cache(settings: Settings, guard: Guard) -> HostCache:
    least = LeastSpeed(settings.fetch_least_bytes_per_s, settings.fetch_window_s)
    limits = FetchLimits(settings.fetch_limit_bytes, settings.fetch_timeout_s, settings.fetch_connections, least)
    return HostCache(settings.data_dir.resolve() / "cache", settings.cache_limit_bytes, guard, limits)
