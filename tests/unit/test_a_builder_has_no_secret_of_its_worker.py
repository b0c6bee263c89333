"""The process that builds an environment has none of the settings of the worker that starts it, and so no token."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from comfyward.environments import child
from tests.looks import looks

WAITS = "json.tool"  # reads what it is sent to its end, as a builder reads its order


async def test_a_builder_has_no_secret_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORKER_TOKEN", "WORKER_TOKEN_FILE", "DATABASE_URL", "OBJECTS_URL", "SECRET_KEYS_FILE"):
        monkeypatch.setenv(f"COMFYWARD_{name}", "the-workers-secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")

    with tempfile.TemporaryFile() as errors:
        process = await child._started(WAITS, errors)
        try:
            told = (Path(f"/proc/{process.pid}/environ").read_bytes() for _ in looks(60))
            environment = next(filter(None, told))  # the kernel tells it a moment after the program has begun
        finally:
            await child._end(process)

    assert b"the-workers-secret" not in environment
    assert b"HTTPS_PROXY=http://proxy.example" in environment, "what it needs to fetch packages"
