"""No space left for a pack that is uploaded: a 507 with a sentence, and the environment is as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.small_disk import mounted
from tests.stack.conftest import StartFake
from tests.stack.made_environments import Admin
from tests.stack.test_environments_are_locked_over_the_api import archive

SIZE_MIB = 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB where the server will keep environments."""
    with mounted(tmp_path / "server-0" / "environments", SIZE_MIB) as folder:
        yield folder


def test_a_full_disk_is_said_when_a_pack_is_uploaded(small_disk: Path, start_fake: StartFake) -> None:
    admin = Admin(start_fake(fleet="none"), "portraits")
    large = {"file": archive("large", os.urandom(2 * SIZE_MIB << 20).hex())}

    refused = admin.http.post("/api/v1/environments/portraits/packs", files=large)

    assert refused.status_code == 507, refused.text
    assert refused.json()["message"].startswith("No space left to store the file")
    assert "server's host" in refused.json()["hint"]
    assert admin.get()["packs"] == []
    small = {"file": archive("small", "NODE_CLASS_MAPPINGS = {}\n")}
    assert admin.http.post("/api/v1/environments/portraits/packs", files=small).status_code == 200
