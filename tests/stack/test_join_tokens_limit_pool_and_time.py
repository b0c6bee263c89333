"""Join tokens: for one pool, for a while, revoked; versions that are too far apart are told so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from comfyward.store import workers
from comfyward.worker.protocol import PROTOCOL
from tests.conftest import FakeSettings
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Stack
from tests.stack.test_a_worker_joins_by_itself import worker


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="L4", lease_s="3")


def test_a_token_for_one_pool(stack: Stack, fake_settings: FakeSettings, tmp_path: Path) -> None:
    token = stack.cli("tokens", "create", "for-t4", "--pool", "T4").strip()

    with worker(stack, token, tmp_path / "l4", fake_settings()) as process:
        assert process.wait(120) != 0

    log = (tmp_path / "l4" / "worker.log").read_text()
    assert "The worker token 'for-t4' is for pool T4, not L4." in log
    assert "--pool T4" in log
    assert "Traceback" not in log
    assert "Unclosed" not in log


def test_a_token_for_one_pool_does_not_speak_for_workers_of_another(
    stack: Stack, fake_settings: FakeSettings, tmp_path: Path
) -> None:
    any_pool = stack.cli("tokens", "create", "any").strip()
    scoped = stack.cli("tokens", "create", "for-t4-alone", "--pool", "T4").strip()
    client = stack.client()
    with worker(stack, any_pool, tmp_path / "l4", fake_settings()):
        client.run(fake_save("it is there"), accelerator="L4")
        rows = stack.write(_workers)
        ask = {**rows[0], "idle": True, "warm": [], "holding": [], "wait_s": 0}

        answer = stack.worker_call(scoped, "lease", ask)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_an_expired_token_lets_nobody_join(stack: Stack, fake_settings: FakeSettings, tmp_path: Path) -> None:
    token = stack.cli("tokens", "create", "brief", "--expires-in-hours", "0.0000001").strip()

    with worker(stack, token, tmp_path / "late", fake_settings()) as process:
        assert process.wait(120) != 0

    assert "The worker token 'brief' has expired." in (tmp_path / "late" / "worker.log").read_text()


@pytest.mark.several_servers
def test_a_revoked_token_ends_its_workers(stack: Stack, fake_settings: FakeSettings, tmp_path: Path) -> None:
    token = stack.cli("tokens", "create", "gpu-box", "--pool", "L4", "--expires-in-hours", "8").strip()
    client = stack.client()
    with worker(stack, token, tmp_path / "gpu-box", fake_settings()) as process:
        client.run(fake_save("joined"), accelerator="L4")
        listed = _tokens(stack)["gpu-box"]
        assert (listed["pool"], listed["revoked_at"]) == ("L4", None)
        assert listed["last_used_at"] is not None

        stack.cli("tokens", "revoke", "gpu-box")

        process.wait(120)
    assert "gpu-box" not in _tokens(stack)


@pytest.mark.parametrize(
    ("protocol", "is_welcome"),
    [(PROTOCOL - 2, False), (PROTOCOL - 1, True), (PROTOCOL, True), (PROTOCOL + 1, True), (PROTOCOL + 2, False)],
)
def test_versions_next_to_each_other_work_together(stack: Stack, protocol: int, is_welcome: bool) -> None:
    token = stack.cli("tokens", "create", f"of-version-{protocol}").strip()

    answer = stack.worker_hello(token, protocol=protocol, versions={"comfyward": "9.9"})

    if is_welcome:
        assert answer.json()["protocol"] == PROTOCOL
    else:
        assert answer.status_code == 426
        assert re.search(r"comfyward 9\.9, protocol \d\) and the server .* too far apart", answer.json()["message"])
        assert answer.json()["hint"].startswith("Install the ")


def _tokens(stack: Stack) -> dict[str, dict[str, Any]]:
    return {token["name"]: token for token in json.loads(stack.cli("tokens", "list", "--json"))}


def _workers(conn: Connection) -> list[dict[str, str]]:
    return [{"worker_id": row.id, "incarnation": row.incarnation} for row in workers.find(conn, 0)]
