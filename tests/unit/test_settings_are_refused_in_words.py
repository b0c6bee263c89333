"""A setting, a number or an address that cannot be meant is refused in a sentence, with what it should have been."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from comfyward.cli.comfyui_setup import absent_folders
from comfyward.cli.main import cli
from comfyward.cli.options import settings_from
from comfyward.comfy import install
from comfyward.errors import SetupFailed
from comfyward.server.listening import check_addresses
from comfyward.settings import Settings
from comfyward.store import backends
from tests.command_line import comfyward


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "says", "hint"),
    [
        ("LARGER_POOLS", '{"L4": A100}', "'larger_pools' is not valid JSON", 'as JSON: {"L4": "A100_80GB"}'),
        ("LARGER_POOLS", "L4=A100", "'larger_pools' is not valid", 'as JSON: {"L4": "A100_80GB"}'),
        ("COMFYUI_ARGS", "--reserve-vram 1", '["--reserve-vram", "1"]', "as a JSON list"),
        ("LEASE_S", "soon", "'lease_s' is not valid", "unresponsive worker"),
    ],
)
def test_a_variable(variable: str, value: str, says: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"COMFYWARD_{variable}", value)

    with pytest.raises(SetupFailed) as refused:
        settings_from()

    assert says in refused.value.message
    assert hint in str(refused.value.hint)
    assert "docs/configuration.md" in str(refused.value.hint)


def test_arguments_of_comfyui_may_have_spaces_in_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYWARD_COMFYUI_ARGS", '["--reserve-vram", "1", "--note=a b"]')

    assert settings_from().comfyui_args == ["--reserve-vram", "1", "--note=a b"]


def test_a_file_of_settings_that_is_no_toml(tmp_path: Path) -> None:
    (tmp_path / "comfyward.toml").write_text("port = 80\nhost = nowhere\n")

    with pytest.raises(SetupFailed, match=r"comfyward\.toml cannot be read: .* \(at line 2"):
        settings_from()


def test_a_key_that_is_no_setting_is_told(tmp_path: Path) -> None:
    (tmp_path / "comfyward.toml").write_text("prot = 80\nlease_s = 30\n")

    told = comfyward("comfyui", "show", "--data-dir", str(tmp_path), environment=os.environ)

    assert "Warning: there is no setting 'prot' (comfyward.toml). Did you mean 'port'?" in told.stderr
    assert "lease_s" not in told.stderr


def test_folders_that_are_not_there_are_told(tmp_path: Path) -> None:
    unreadable = tmp_path / ("x" * 300)  # the system refuses to look, as where it may not be looked at
    settings = Settings(custom_nodes_dir=tmp_path / "packs", model_dirs=[tmp_path, tmp_path / "models", unreadable])

    assert absent_folders(settings) == [
        f"There is no folder {tmp_path / 'packs'}, which COMFYWARD_CUSTOM_NODES_DIR names.",
        f"There is no folder {tmp_path / 'models'}, which COMFYWARD_MODEL_DIRS names.",
        f"There is no folder {unreadable}, which COMFYWARD_MODEL_DIRS names.",
    ]


@pytest.mark.parametrize(
    ("settings", "says", "hint"),
    [
        (Settings(port=8600, native_port=8600), "are the same, 8600", "--native-port"),
        (Settings(port=0, native_open=True), "no native port", "--native-port 8188"),
    ],
)
def test_a_native_port_that_is_none(settings: Settings, says: str, hint: str) -> None:
    with pytest.raises(SetupFailed) as refused:
        check_addresses(settings)

    assert says in refused.value.message
    assert hint in str(refused.value.hint)


@pytest.mark.parametrize(
    "command",
    [
        ("users", "share", "admin", "--weight"),
        ("users", "create", "alice", "--credit-limit"),
        ("users", "limit", "admin"),
        ("tokens", "create", "box", "--expires-in-hours"),
        ("keys", "create", "mine", "--expires-in-days"),
        ("run", "graph.json", "--timeout"),
    ],
)
@pytest.mark.parametrize("number", ["nan", "1e30", "inf", "soon"])
def test_a_number_that_is_none(command: tuple[str, ...], number: str) -> None:
    told = CliRunner().invoke(cli, [*command, number])

    assert told.exit_code == 2
    assert f"'{number}' is not a valid number." in told.output or "is not in the range" in told.output


@pytest.mark.parametrize("address", ["nonsense", "/tmp/other.db", "mysql://db.internal/comfyward"])
def test_an_address_of_no_database(address: str, tmp_path: Path) -> None:
    comfyward("db", "upgrade", "--data-dir", str(tmp_path), environment=os.environ)

    told = comfyward("db", "copy", address, "--data-dir", str(tmp_path), environment=os.environ)

    assert told.returncode == 1
    assert "Error: " in told.stderr
    assert "Write it as postgresql://USER:PASSWORD@HOST/DATABASE." in told.stderr
    assert "Traceback" not in told.stderr


def test_both_names_of_postgresql_are_taken() -> None:
    with pytest.raises(SetupFailed, match="cannot be used") as refused:
        backends.open_engine("postgres://user@127.0.0.1:1/none")

    assert "postgresql://user@127.0.0.1:1/none" in refused.value.message


def test_a_comfyui_that_is_elsewhere(tmp_path: Path) -> None:
    source = tmp_path / "ComfyUI"
    source.mkdir()
    (source / "main.py").touch()

    with pytest.raises(SetupFailed) as above:
        install.existing(tmp_path, None)
    with pytest.raises(SetupFailed, match="There is no Python at /nowhere/python"):
        install.existing(source, Path("/nowhere/python"))

    assert above.value.hint == f"Did you mean {source}?"
