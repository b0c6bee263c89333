"""A token or key of a command: from a file, from the environment, or from the command line; from one of them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from comfyward.cli import secret_option as module
from comfyward.cli.main import cli
from comfyward.cli.secret_option import secret_option
from comfyward.errors import SetupFailed


@click.command
@secret_option("token", "TEST_TOKEN", "A token.", required=True)
def command(token: str) -> None:
    click.echo(f"<{token}>")


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(command, arguments, env=variables)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "token"
    found.write_text("from-a-file\n")
    found.chmod(0o600)
    return found


def test_every_way_gives_it(path: Path) -> None:
    answers = [
        run("--token-file", str(path)),
        run(TEST_TOKEN_FILE=str(path)),
        run("--token", "given"),
        run(TEST_TOKEN="of-the-environment"),
        run(TEST_TOKEN="", TEST_TOKEN_FILE=str(path)),
        run("--token-file", str(path), TEST_TOKEN_FILE="/nowhere"),
        run("--token-file", str(path), TEST_TOKEN="of-the-environment"),
        run("--token", "given", TEST_TOKEN_FILE=str(path)),
    ]

    assert [each.output for each in answers] == [
        "<from-a-file>\n",
        "<from-a-file>\n",
        "<given>\n",
        "<of-the-environment>\n",
        "<from-a-file>\n",
        "<from-a-file>\n",
        "<from-a-file>\n",
        "<given>\n",
    ]


def test_two_are_one_too_many(path: Path) -> None:
    for answer in (
        run("--token", "given", "--token-file", str(path)),
        run(TEST_TOKEN_FILE=str(path), TEST_TOKEN="of-the-environment"),
    ):
        assert answer.exit_code == 2
        assert "Give --token or --token-file, or one of their variables, not both." in answer.output


def test_none_is_too_few() -> None:
    answer = run()

    assert answer.exit_code == 2
    assert "Missing option '--token'. Or give --token-file." in answer.output


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_a_file_of_its_user_is_read_in_silence(path: Path, mode: int) -> None:
    path.chmod(mode)

    assert run("--token-file", str(path)).output == "<from-a-file>\n"


@pytest.mark.parametrize("mode", [0o644, 0o604])
def test_a_file_that_all_can_read_is_warned_of(path: Path, mode: int) -> None:
    path.chmod(mode)

    answer = run("--token-file", str(path))

    assert answer.stdout == "<from-a-file>\n"
    assert answer.stderr == f"Warning: every user of this machine can read {path}: run 'chmod 600' on it.\n"


def test_secrets_of_containers_are_read_in_silence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOUNTED", path.parent)
    path.chmod(0o444)

    assert run("--token-file", str(path)).output == "<from-a-file>\n"


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"a\nb\n", b"\xff\xfe", b"x" * 5000], ids=repr)
def test_a_file_that_holds_no_secret_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    answer = run("--token-file", str(path))

    assert isinstance(answer.exception, SetupFailed)
    assert answer.exception.message == f"The file {path} does not hold one secret."


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    answer = run("--token-file", str(tmp_path / "none"))

    assert isinstance(answer.exception, SetupFailed)
    assert answer.exception.message == f"The file {tmp_path}/none cannot be read: No such file or directory."


def test_commands_offer_it() -> None:
    runner = CliRunner()
    for arguments, variable in (
        (["worker"], "COMFYWARD_WORKER_TOKEN_FILE"),
        (["fleet", "ray"], "COMFYWARD_FLEET_TOKEN_FILE"),
        (["runs", "list"], "COMFYWARD_API_KEY_FILE"),
    ):
        assert variable in runner.invoke(cli, [*arguments, "--help"]).output
