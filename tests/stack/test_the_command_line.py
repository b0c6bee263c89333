"""Accounts and keys from the command line, beside no server at all; errors are one line and a hint."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from comfyward.cli.main import COMMANDS
from tests import command_line
from tests.stack.stack import Stack

Run = subprocess.CompletedProcess[str]


def comfyward(data_dir: Path, *arguments: str, **environment: str) -> Run:
    return command_line.comfyward(*arguments, "--data-dir", str(data_dir), environment={**os.environ, **environment})


def serve(data_dir: Path, *arguments: str, **environment: str) -> Run:
    command = [sys.executable, "-m", "comfyward", "serve", *arguments, "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_accounts_and_keys(tmp_path: Path) -> None:
    begin(tmp_path)
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
    assert "5 credits" in comfyward(tmp_path, "users", "limit", "alice").stdout, "a look changes nothing"
    assert "no limit" in comfyward(tmp_path, "users", "limit", "alice", "--none").stdout
    for name in ("", " ", "two\nlines"):
        assert "A name has 1 to 200 characters" in comfyward(tmp_path, "users", "create", name).stderr


def begin(data_dir: Path) -> None:
    """An installation, without a server yet."""
    assert "Created a new database" in comfyward(data_dir, "db", "upgrade").stdout


NEED_A_DATABASE = [
    ("keys", "create", "laptop"),
    ("keys", "list"),
    ("keys", "revoke", "laptop"),
    ("users", "create", "alice"),
    ("users", "list"),
    ("users", "link", "alice"),
    ("users", "share", "alice"),
    ("users", "limit", "alice"),
    ("tokens", "create", "gpu-box"),
    ("tokens", "list"),
    ("tokens", "revoke", "gpu-box"),
    ("fleet", "status"),
    ("db", "check"),
    ("db", "copy", "sqlite:////tmp/never-made.db"),
]


def test_no_command_begins_an_installation_by_mistake(shared: Stack, tmp_path: Path) -> None:
    other = tmp_path / "other"

    for arguments in NEED_A_DATABASE:
        refused = comfyward(other, *arguments)
        assert refused.returncode == 1, refused
        assert f"There is no comfyward installation in {other}" in refused.stderr
        assert str(shared.data_dir) in refused.stderr, "the server that runs is named"
    assert not other.exists()

    # A second installation, made on purpose: what is done in it while the server runs elsewhere is done with a warning.
    begin(other)
    made = comfyward(other, "keys", "create", "laptop")
    assert made.returncode == 0
    assert len(made.stdout.split()) == 1
    assert "Warning" in made.stderr
    assert str(shared.data_dir) in made.stderr
    beside = comfyward(shared.data_dir, "keys", "create", "laptop")
    assert (beside.returncode, beside.stderr) == (0, "")


def test_a_mistyped_name_gets_a_suggestion(tmp_path: Path) -> None:
    begin(tmp_path)
    comfyward(tmp_path, "users", "create", "alice")
    comfyward(tmp_path, "keys", "create", "laptop", "--account", "alice")
    comfyward(tmp_path, "tokens", "create", "gpu-box")
    mistyped = [
        (("kyes", "list"), "keys"),
        (("keys", "crate", "x"), "create"),
        (("keys", "list", "--acount", "x"), "--account"),
        (("keys", "create", "x", "--account", "alcie"), "alice"),
        (("keys", "revoke", "labtop", "--account", "alice"), "laptop"),
        (("tokens", "revoke", "gpu-bxo"), "gpu-box"),
        (("users", "limit", "Alise", "5"), "alice"),
        (("serve", "--fleet", "lcoal"), "local"),
    ]

    for arguments, meant in mistyped:
        answer = comfyward(tmp_path, *arguments)
        assert answer.returncode != 0
        assert re.search(rf"Did you mean[^?]*'{meant}'", answer.stderr), answer.stderr

    warned = comfyward(tmp_path, "users", "list", COMFYWARD_RETENTION_DAY="3", COMFYWARD_SOMETHING="x")
    assert "there is no setting COMFYWARD_RETENTION_DAY. Did you mean COMFYWARD_RETENTION_DAYS?" in warned.stderr
    assert "SOMETHING" not in warned.stderr


def test_singular_and_plural_are_used_correctly(tmp_path: Path) -> None:
    begin(tmp_path)
    comfyward(tmp_path, "users", "create", "alice")
    comfyward(tmp_path, "tokens", "create", "gpu-box")

    assert "at most 1 run at once" in comfyward(tmp_path, "users", "share", "alice", "--max-running", "1").stdout
    assert "at most 2 runs at once" in comfyward(tmp_path, "users", "share", "alice", "--max-running", "2").stdout
    kept = "alice: weight 3, at most 2 runs at once, 1 in L4."
    assert kept in comfyward(tmp_path, "users", "share", "alice", "--weight", "3", "--max-in", "L4=1").stdout
    assert kept in comfyward(tmp_path, "users", "share", "alice").stdout, "a look changes nothing"
    assert "weight 1, any number" in comfyward(tmp_path, "users", "share", "alice", "--default").stdout
    assert "alice: 1 credit." in comfyward(tmp_path, "users", "limit", "alice", "1").stdout
    assert "Revoked 1 token named gpu-box." in comfyward(tmp_path, "tokens", "revoke", "gpu-box").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("keys", "create", "x", "--account", "nobody"), "There is no account named 'nobody'"),
        (("keys", "revoke", "nothing"), "There is no key 'nothing'"),
    ],
)
def test_errors_are_one_line_and_a_hint(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    begin(tmp_path)
    check_error(comfyward(tmp_path, *arguments), message)


def test_errors_of_a_server_are_one_line_and_a_hint(tmp_path: Path) -> None:
    check_error(serve(tmp_path, "--port", "0", "--comfyui", "/tmp"), "There is no ComfyUI in /tmp")


def check_error(failed: Run, message: str) -> None:
    assert failed.returncode == 1
    assert message in failed.stderr
    assert "Hint: " in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    failed = serve(tmp_path, COMFYWARD_PORT="a lot")

    assert failed.returncode == 1
    assert "'port'" in failed.stderr


def test_help_is_there_for_every_command() -> None:
    command = [sys.executable, "-m", "comfyward", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in COMMANDS:
        assert name in shown
        help_of_one = command_line.comfyward(name, "--help", environment=os.environ)
        assert (help_of_one.returncode, "comfyward" in help_of_one.stdout) == (0, True)
