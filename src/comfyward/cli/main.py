"""The `comfyward` command. Each command is a file of its own, imported only when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from comfyward import __version__
from comfyward.errors import ComfywardError

COMMANDS = {
    "comfyui": "Install ComfyUI and see what is installed.",
    "db": "Upgrade, check and copy the database.",
    "demo": "See it work: two real workflows, from nothing to pictures.",
    "fleet": "Start workers on a Ray cluster; see what fleets there are.",
    "keys": "Create, list and revoke API keys.",
    "run": "Run a graph, follow it, save what it makes.",
    "runs": "List runs, show, cancel, retry and fetch them.",
    "serve": "Start the server and its local workers.",
    "tokens": "Create, list and revoke tokens with which workers join.",
    "users": "Create and list accounts, set credit limits.",
    "worker": "Join a server as a worker.",
}


class LazyGroup(click.Group):
    """Lists commands without importing them, so that `--help` is quick."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f"comfyward.cli.{name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=context) from error

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="comfyward")
def cli() -> None:
    """Run ComfyUI workflows in production, on your own machines.

    \b
    comfyward demo                      see it work
    comfyward serve                     start the service on http://127.0.0.1:8600
    comfyward keys create production    make an API key
    comfyward run graph.json --out out  run a graph and save its pictures
    """


def main() -> None:
    """Runs the command; errors of ours are one line and a hint, not a traceback."""
    try:
        cli.main(standalone_mode=True)
    except ComfywardError as error:
        from comfyward.cli.hints import hint_on  # only now: it brings the whole client with it

        click.secho(f"Error: {error.message}", fg="red", err=True)
        if hint := hint_on(error):
            click.echo(f"Hint: {hint}", err=True)
        sys.exit(1)
