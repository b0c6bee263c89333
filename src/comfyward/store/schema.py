"""All tables. A table that is imported from here can be used: foreign keys name the others by their text.

CHECKs refuse what the code must not do. Times are milliseconds since the epoch. The tables of each noun are in
`store/tables/`.
"""

from __future__ import annotations

from comfyward.store.tables.accounts import (
    accounts,
    api_keys,
    editor_settings,
    login_links,
    login_tries,
    named_secrets,
    sessions,
)
from comfyward.store.tables.environments import (
    environment_learnings,
    environment_lockings,
    environment_locks,
    environment_rehearsals,
    environment_revisions,
    environment_trees,
    environment_trials,
    environment_web_files,
    environments,
)
from comfyward.store.tables.files import blob_uses, blobs, files, imports, links, mirrors, shared_files, uploads
from comfyward.store.tables.metadata import metadata
from comfyward.store.tables.models import deleted_models, model_facts, model_pins, model_uses
from comfyward.store.tables.runs import (
    HAS_PREVIEWS,
    IS_HANDED_OUT,
    IS_LARGE,
    IS_QUEUED,
    IS_STAGED,
    events,
    queue_lengths,
    runs,
    usage,
    webhook_deliveries,
)
from comfyward.store.tables.servers import secrets
from comfyward.store.tables.workers import catalogs, fleets, worker_tokens, workers
from comfyward.store.tables.workflows import pack_requests, workflow_models, workflows

__all__ = [
    "HAS_PREVIEWS",
    "IS_HANDED_OUT",
    "IS_LARGE",
    "IS_QUEUED",
    "IS_STAGED",
    "accounts",
    "api_keys",
    "blob_uses",
    "blobs",
    "catalogs",
    "deleted_models",
    "editor_settings",
    "environment_learnings",
    "environment_lockings",
    "environment_locks",
    "environment_rehearsals",
    "environment_revisions",
    "environment_trees",
    "environment_trials",
    "environment_web_files",
    "environments",
    "events",
    "files",
    "fleets",
    "imports",
    "links",
    "login_links",
    "login_tries",
    "metadata",
    "mirrors",
    "model_facts",
    "model_pins",
    "model_uses",
    "named_secrets",
    "pack_requests",
    "queue_lengths",
    "runs",
    "secrets",
    "sessions",
    "shared_files",
    "uploads",
    "usage",
    "webhook_deliveries",
    "worker_tokens",
    "workers",
    "workflow_models",
    "workflows",
]
