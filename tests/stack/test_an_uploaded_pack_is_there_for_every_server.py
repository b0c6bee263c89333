"""A pack that was uploaded to one server is locked, and sent to workers, by a server whose host never had its files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comfyward.environments.target import TARGET
from comfyward.ids import new_secret
from comfyward.store import tokens
from comfyward.store.db import now_ms
from tests.attacks.raw_worker import RawWorker, catalog_of
from tests.stack.conftest import StartFake
from tests.stack.made_environments import Admin
from tests.stack.stack import Stack
from tests.stack.test_environments_are_locked_over_the_api import NODES, archive


@pytest.fixture
def stack(start_fake: StartFake) -> Stack:
    return start_fake(fleet="none")


def tree_in(stack: Stack, pack: str) -> Path:
    """The only folder of this host that holds the files of a pack."""
    trees = stack.data_dir / "environments" / "trees"
    (found,) = [path for path in trees.iterdir() if (path / "__init__.py").is_file() and path.name in pack]
    return found


def test_an_uploaded_pack_is_there_for_every_server(stack: Stack) -> None:
    admin = Admin(stack, "portraits")
    added = admin.http.post("/api/v1/environments/portraits/packs", files={"file": archive("good", NODES)})
    assert added.status_code == 200, added.text
    (pack,) = added.json()["packs"]
    files = tree_in(stack, pack)
    token = stack.write(lambda conn: tokens.create(conn, "any", now_ms()))
    worker = RawWorker(stack, token, "any", secret=new_secret())
    assert worker.hello(catalog_of("Paint"), target=TARGET, ready=[]).status_code == 200
    sent = worker.call("GET", f"environments/trees/{files.name}").content

    shutil.rmtree(files)  # as on the host of another server
    assert stack.stop() == 0
    stack.start()

    admin.post("lock", 202)
    done = admin.locked()
    assert (done["state"], done["revision"]) == ("done", 1), done
    shutil.rmtree(files)
    again = worker.call("GET", f"environments/trees/{files.name}")
    assert (again.status_code, len(again.content)) == (200, len(sent))
    unknown = worker.call("GET", f"environments/trees/{'0' * 64}")
    assert unknown.status_code == 404
