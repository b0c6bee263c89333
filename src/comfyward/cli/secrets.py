"""comfyward secrets"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from comfyward.cli.connection import connect, connection_options, print_json
from comfyward.cli.groups import Group
from comfyward.cli.secret_option import read_secret
from comfyward.cli.tables import moment_of, print_table
from comfyward.runs.named_secret import AUTHORIZATION, MAX_VALUE

shared_option = click.option("--shared", is_flag=True, help="One that all accounts use (admins).")


@click.group("secrets", cls=Group)
def command() -> None:
    """Store tokens for the hosts of files and models, list and delete them. Values are never shown.

    \b
    comfyward secrets put HF_TOKEN --from-file token.txt
    comfyward secrets list
    """


@command.command("put")
@click.argument("name")
@click.option(
    "--from-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that holds only the value. Default: standard input, or a question.",
)
@click.option("--host", "hosts", multiple=True, help="Where it may be sent: example.com, *.example.com.")
@click.option("--header", default=AUTHORIZATION, show_default=True, help="The header that carries it.")
@shared_option
@connection_options
def put(
    name: str, from_file: Path | None, hosts: tuple[str, ...], header: str, shared: bool, url: str, key: str | None
) -> None:
    """Store a secret, in place of the one of this name.

    HF_TOKEN and CIVITAI_TOKEN have hosts of their own; any other name needs --host.

    \b
    comfyward secrets put HF_TOKEN --from-file token.txt
    pass show civitai | comfyward secrets put CIVITAI_TOKEN
    comfyward secrets put MODELS --host models.example.com
    """
    value = read_secret(from_file) if from_file else _typed(name)
    body = {"value": value, "hosts": list(hosts), "header": header, "shared": shared}
    with connect(url, key) as client:
        stored = client.call("PUT", f"/secrets/{name}", json=body).json()
    click.echo(f"Stored {stored['name']} for {', '.join(stored['hosts'])}.")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@connection_options
def list_secrets(as_json: bool, url: str, key: str | None) -> None:
    """List the secrets that your account may use.

    \b
    comfyward secrets list
    """
    with connect(url, key) as client:
        found = client.call("GET", "/secrets").json()
    if as_json:
        return print_json(found)
    rows = [
        (each["name"], ", ".join(each["hosts"]), moment_of(each["created_at"]), _last_used(each), _state(each))
        for each in found
    ]
    return print_table(("name", "hosts", "created", "last used", "state"), rows)


@command.command("delete")
@click.argument("name")
@shared_option
@connection_options
def delete(name: str, shared: bool, url: str, key: str | None) -> None:
    """Delete a secret. Downloads that need it fail from now on.

    \b
    comfyward secrets delete HF_TOKEN
    """
    with connect(url, key) as client:
        client.call("DELETE", f"/secrets/{name}", params={"shared": "true"} if shared else {})
    click.echo(f"Deleted {name}.")


def _typed(name: str) -> str:
    """The value from a pipe, or as it is typed in without being shown."""
    if sys.stdin.isatty():
        return str(click.prompt(f"Value of {name}", hide_input=True))
    return sys.stdin.read(MAX_VALUE + 2).strip()


def _last_used(secret: dict[str, str | None]) -> str:
    used = secret["last_used_at"]
    return moment_of(used) if used else "never"


def _state(secret: dict[str, bool]) -> str:
    if not secret["readable"]:
        return "unreadable: store it again"
    return "shared" if secret["shared"] else ""
