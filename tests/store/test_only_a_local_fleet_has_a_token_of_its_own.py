"""A server makes a worker token for its own workers, and none where it starts none: it would be good for any worker."""

import asyncio
from pathlib import Path

import pytest

from comfyward.server.identity import identity_of
from comfyward.settings import Settings
from comfyward.store import tokens
from tests.store.conftest import Store


@pytest.mark.parametrize(("fleet", "live"), [("local", 1), ("none", 0)])
def test_tokens_after_three_starts(store: Store, tmp_path: Path, fleet: str, live: int) -> None:
    settings = Settings(fleet=fleet, data_dir=tmp_path)

    identities = [asyncio.run(identity_of(store.db, settings)) for _ in range(3)]

    assert len(store.read(tokens.find)) == live
    assert len({identity.worker_token for identity in identities} - {None}) == 3 * live
