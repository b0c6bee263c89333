"""Each command's help has an example that is a call of it, and groups list their commands without cutting sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from comfyward.cli.main import cli

Path = tuple[str, ...]


def all_commands(command: click.Command, path: Path = ()) -> Iterator[tuple[Path, click.Command]]:
    if path:
        yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from all_commands(child, (*path, name))


COMMANDS = dict(all_commands(cli))


def examples(command: click.Command) -> list[str]:
    """The lines of a help that call comfyward, with their continuations, without comments."""
    lines = (command.help or "").replace("\\\n", " ").splitlines()
    return [line.partition(" # ")[0].strip() for line in lines if re.search(r"(^|\| |\()\s*(xargs )?comfyward ", line)]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_an_example(path: Path) -> None:
    shown = examples(COMMANDS[path])

    assert any(f"comfyward {' '.join(path)}" in line for line in shown), COMMANDS[path].help


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_examples_use_options_that_exist(path: Path) -> None:
    for line in examples(COMMANDS[path]):
        for call in re.split(r"[|>)]", line):
            words = call.partition("comfyward ")[2].split()
            names = next((tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in COMMANDS), None)
            if names is None:
                assert not words, call
                continue
            known = {option for each in COMMANDS[names].params for option in (*each.opts, *each.secondary_opts)}
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line


@pytest.mark.parametrize(
    "path", [path for path, each in COMMANDS.items() if isinstance(each, click.Group)], ids=" ".join
)
def test_a_groups_list_cuts_no_sentence(path: Path) -> None:
    shown = COMMANDS[path].get_help(click.Context(COMMANDS[path], terminal_width=80))

    assert "..." not in shown.partition("\nCommands:")[2]
