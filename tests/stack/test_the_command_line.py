"""Accounts and keys from the command line, beside no server at all; errors are one line and a hint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

Run = subprocess.CompletedProcess[str]


def comfyward(data_dir: Path, *arguments: str, **environment: str) -> Run:
    command = [sys.executable, "-m", "comfyward", *arguments, "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_accounts_and_keys(tmp_path: Path) -> None:
    assert comfyward(tmp_path, "users", "create", "alice", "--credit-limit", "5").returncode == 0
    key = comfyward(tmp_path, "keys", "create", "laptop", "--account", "alice").stdout
    assert key.startswith("cw_")
    assert len(key.split()) == 1, "only the key is printed"

    [alice] = json.loads(comfyward(tmp_path, "users", "list", "--json").stdout)
    assert (alice["name"], alice["credit_limit"], alice["credits_used"]) == ("alice", 5, 0)
    [listed] = json.loads(comfyward(tmp_path, "keys", "list", "--account", "alice", "--json").stdout)
    assert listed["name"] == "laptop"
    assert key.strip() not in json.dumps(listed)
    assert "in use" in comfyward(tmp_path, "keys", "list", "--account", "alice").stdout
    assert "Revoked laptop" in comfyward(tmp_path, "keys", "revoke", "laptop", "--account", "alice").stdout
    assert "revoked" in comfyward(tmp_path, "keys", "list", "--account", "alice").stdout
    assert "no limit" in comfyward(tmp_path, "users", "limit", "alice").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("keys", "create", "x", "--account", "nobody"), "There is no account named 'nobody'"),
        (("keys", "revoke", "nothing"), "There is no key 'nothing'"),
        (("serve", "--comfyui", "/tmp"), "There is no ComfyUI in /tmp"),
    ],
)
def test_errors_are_one_line_and_a_hint(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    failed = comfyward(tmp_path, *arguments)

    assert failed.returncode == 1
    assert message in failed.stderr
    assert "Hint: " in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    failed = comfyward(tmp_path, "serve", COMFYWARD_PORT="a lot")

    assert failed.returncode == 1
    assert "'port'" in failed.stderr


def test_help_is_there_for_every_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "comfyward", "--help"], capture_output=True, text=True, check=True)
    for name in ("comfyui", "demo", "keys", "serve", "tokens", "users", "worker"):
        assert name in shown.stdout
        command = [sys.executable, "-m", "comfyward", name, "--help"]
        assert "comfyward" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
