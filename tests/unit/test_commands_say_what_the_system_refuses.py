"""A folder, a port or an address that cannot be used is one sentence, told before anything else is done."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from comfyward.cli.refusals import refusal_of
from comfyward.errors import SetupFailed
from comfyward.server.listening import check_addresses
from comfyward.settings import Settings
from tests.command_line import comfyward


def test_a_folder_that_cannot_be_made() -> None:
    told = comfyward("comfyui", "install", "--data-dir", "/proc/nothing", environment=os.environ)

    assert told.returncode == 1
    assert "Error: /proc/nothing" in told.stderr
    assert "No such file or directory" in told.stderr
    assert "Hint: " in told.stderr
    assert "Traceback" not in told.stderr


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "comfyward.db").write_text("this is no database, whatever its name says " * 100)

    told = comfyward("db", "upgrade", "--data-dir", str(tmp_path), environment=os.environ)

    assert told.returncode == 1
    assert "Error: The database cannot be used: file is not a database." in told.stderr
    assert "Traceback" not in told.stderr


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(sqlite3.OperationalError) as missing:
        sqlite3.connect(":memory:").execute("SELECT * FROM no_such_table")

    assert refusal_of(missing.value) is None
    assert refusal_of(ValueError("x")) is None


def test_a_port_that_is_taken_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "comfyward", "serve", "--port", str(port), "--data-dir", str(tmp_path / "new")]
        told = subprocess.run(command, capture_output=True, text=True, check=False)

    assert told.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use." in told.stderr
    assert "--port" in told.stderr
    assert not (tmp_path / "new").exists()


def test_a_host_that_is_none_of_this_machine() -> None:
    with pytest.raises(SetupFailed) as refused:
        check_addresses(Settings(host="203.0.113.1", port=0))

    assert refused.value.hint == "Choose another --host."


@pytest.mark.parametrize("address", ["127.0.0.1:8600", "ftp://127.0.0.1:8600"])
def test_an_address_without_a_scheme(address: str) -> None:
    told = comfyward("runs", "list", "--url", address, "--key", "cw_x", environment=os.environ)

    assert told.returncode == 2
    assert f"{address} has no http:// or https://" in told.stderr


def test_a_scheme_in_capital_letters_is_one() -> None:
    told = comfyward("runs", "list", "--url", "HTTP://127.0.0.1:1", "--key", "cw_x", environment=os.environ)

    assert told.returncode == 1
    assert "has no http://" not in told.stderr
