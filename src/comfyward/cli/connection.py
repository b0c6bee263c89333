"""The connection of commands to a server: its options, and the exit codes that tell scripts how a run ended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from comfyward.cli.options import has_scheme
from comfyward.cli.secret_option import secret_option
from comfyward.client import DEFAULT_URL, ApiError, Client, Run
from comfyward.ids import is_id
from comfyward.wording import did_you_mean, plural

F = TypeVar("F", bound=Callable[..., Any])

RECENT = 200  # runs that are searched for a mistyped id
EXIT_FAILED = 3
EXIT_CANCELLED = 4
EXIT_OUT_OF_CREDIT = 5


def connection_options(command: F) -> F:
    """Adds --url, --key and --key-file, which can also be set in the environment."""
    key = secret_option("key", "COMFYWARD_API_KEY", "An API key.")
    url = click.option(
        "--url",
        envvar="COMFYWARD_URL",
        default=DEFAULT_URL,
        show_default=True,
        help="The server's address.  [env: COMFYWARD_URL]",
    )
    return url(key(command))


def connect(url: str, key: str | None) -> Client:
    if not key:
        raise click.UsageError("No API key: pass --key-file, or set COMFYWARD_API_KEY (see 'comfyward keys create').")
    if not has_scheme(url):
        raise click.UsageError(f"The address {url} has no http:// or https:// (--url, COMFYWARD_URL).")
    return Client(url, key)


def workflow_of(client: Client, text: str) -> str:
    """The id of a workflow given by id or name. Raises a usage error if there is none, or more than one."""
    if text == "default" or is_id(text):
        return text
    known = client.workflows()
    named = [str(each["id"]) for each in known if each["name"] == text]
    if len(named) == 1:
        return named[0]
    if named:
        raise click.BadParameter(f"{plural(len(named), 'workflow')} are named '{text}': {', '.join(named)}.")
    hint = did_you_mean(text, [str(each["name"]) for each in known], "")
    raise click.BadParameter(f"There is no workflow '{text}'. {hint}".rstrip(), param_hint="--workflow")


@contextlib.contextmanager
def suggesting_runs(client: Client, run_id: str) -> Iterator[None]:
    """Adds the closest recent run id to a "not found" error raised in the block."""
    try:
        yield
    except ApiError as error:
        if error.code == "not_found":
            recent = [run.id for run in client.find(limit=RECENT)]
            error.hint = did_you_mean(run_id, recent, "'comfyward runs list' shows your runs.")
        raise


def exit_code(run: Run) -> int:
    """0 if the run succeeded, otherwise one of the EXIT_… codes."""
    if run.succeeded:
        return 0
    return {"cancelled": EXIT_CANCELLED, "insufficient_credit": EXIT_OUT_OF_CREDIT}.get(
        run.end_reason or "", EXIT_FAILED
    )


def print_json(value: Any) -> None:
    click.echo(json.dumps(value))
