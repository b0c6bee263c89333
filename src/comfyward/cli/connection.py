"""How commands reach a server: address and key, and the exit codes by which scripts tell how a run went."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from comfyward.client import DEFAULT_URL, Client, Run

F = TypeVar("F", bound=Callable[..., Any])

EXIT_FAILED = 3
EXIT_CANCELLED = 4
EXIT_OUT_OF_CREDIT = 5


def connection_options(command: F) -> F:
    """--url and --key, also from the environment."""
    key = click.option("--key", envvar="COMFYWARD_API_KEY", help="An API key.  [env: COMFYWARD_API_KEY]")
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
        raise click.UsageError("No API key: give --key, or set COMFYWARD_API_KEY (see 'comfyward keys create').")
    return Client(url, key)


def exit_code(run: Run) -> int:
    """0 when a run succeeded."""
    if run.succeeded:
        return 0
    return {"cancelled": EXIT_CANCELLED, "insufficient_credit": EXIT_OUT_OF_CREDIT}.get(
        run.end_reason or "", EXIT_FAILED
    )


def print_json(value: Any) -> None:
    click.echo(json.dumps(value))
