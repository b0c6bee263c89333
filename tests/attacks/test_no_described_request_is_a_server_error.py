"""Thousands of right and wrong requests, made from the OpenAPI by schemathesis, are answered without a server error.

They cover every route of all three APIs that is described, except those that wait for events or fetch from a host.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

CASES_PER_ROUTE = 5
LONGEST_S = 200
SEED = 1
# Streams of events; what would fetch from any host; what removes the account; what is answered 501, as it should be.
LEFT_OUT = r"events|/ws|stream|imports|download|/account|/etn/(image|workflow)|/uploads/"
KNOWN = '[parameters]\n"path.workflow_id" = "default"\n"path.class_type" = "FakeSave"\n"path.folder" = "checkpoints"\n'


@pytest.fixture
def stack(start_fake: StartFake) -> Stack:
    return start_fake().wait_ready()


def test_of_all_apis(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(KNOWN)
    key = stack.client("somebody").key
    command = [Path(sys.executable).with_name("schemathesis"), "run", f"{stack.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {key}", "--checks", "not_a_server_error"]
    command += ["--phases", "coverage,fuzzing", "--max-examples", str(CASES_PER_ROUTE), "--seed", str(SEED)]
    command += ["--generation-database", "none", "--suppress-health-check", "all", "--no-color", "--warnings", "off"]
    command += ["--exclude-path-regex", LEFT_OUT, "--request-timeout", "20", "--continue-on-failure", "--no-shrink"]

    ended = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST_S)

    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr
    assert "Traceback" not in (stack.data_dir / "server.log").read_text()
    assert stack.client("somebody else").http.get("/api/v1/me").status_code == 200
