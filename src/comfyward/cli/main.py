"""The `comfyward` command. Each subcommand is a module, imported only when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from comfyward import __version__
from comfyward.errors import ComfywardError

COMMANDS = {
    "check": "Say what a workflow lacks at the server, and get it.",
    "comfyui": "Install ComfyUI, or show what is installed.",
    "db": "Upgrade, check and copy the database.",
    "demo": "Try it: two real workflows, from nothing to pictures.",
    "environments": "Make environments: a ComfyUI with packs, pinned and built.",
    "fleet": "Run workers on a Ray cluster, and show the fleets.",
    "keys": "Create, list and revoke API keys.",
    "models": "List, show, share and delete the models that you can use.",
    "run": "Run a graph, show its progress, and save its outputs.",
    "runs": "List, show, cancel and retry runs; get their logs and outputs.",
    "secrets": "Store tokens for the hosts of files, list and delete them.",
    "serve": "Start the server and its local workers.",
    "tokens": "Create, list and revoke the tokens that workers join with.",
    "users": "Create and list accounts, and set their limits.",
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
    comfyward demo                      try it
    comfyward serve                     start the service on http://127.0.0.1:8600
    comfyward keys create production    create an API key
    comfyward run graph.json --out out  run a graph and save its outputs
    """


def main() -> None:
    """Runs the command.

    A ComfywardError is printed as one line and a hint, without a traceback; so is a refusal of the system.
    """
    try:
        cli.main(standalone_mode=True)
    except ComfywardError as error:
        from comfyward.cli.hints import hint_on  # imports the whole client

        click.secho(f"Error: {error.message}", fg="red", err=True)
        if hint := hint_on(error):
            click.echo(f"Hint: {hint}", err=True)
        sys.exit(1)
    except Exception as error:
        from comfyward.cli.refusals import refusal_of

        refusal = refusal_of(error)
        if refusal is None:
            raise
        click.secho(f"Error: {refusal.message}", fg="red", err=True)
        click.echo(f"Hint: {refusal.hint}", err=True)
        sys.exit(1)
