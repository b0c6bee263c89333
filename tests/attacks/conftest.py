"""The whole systems of the scenarios in tests/stack, for attacks on them."""

from __future__ import annotations

from tests.stack.conftest import (
    client,
    cluster,
    hub,
    real,
    shared,
    start_cluster,
    start_fake,
    start_fake_once,
    tenant,
    tiny_models_dir,
)

__all__ = [
    "client",
    "cluster",
    "hub",
    "real",
    "shared",
    "start_cluster",
    "start_fake",
    "start_fake_once",
    "tenant",
    "tiny_models_dir",
]
