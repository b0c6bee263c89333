"""comfyward environments learn: which files packs fetch, as files of the environment."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from comfyward.cli.environment_options import Where, place_options
from comfyward.cli.environment_place import Place
from comfyward.cli.steps import showing_steps
from comfyward.cli.workflow_file import read_file
from comfyward.errors import Conflict
from comfyward.wording import plural, size

POLL_S = 1.0
WAITING = "Waiting for a worker with a token for any pool"
ENDED = ("done", "failed", "cancelled")


@click.command("learn")
@click.argument("name")
@click.option(
    "--graph",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="A workflow to execute: a file as 'comfyward run' takes it.",
)
@click.option("--allow", "hosts", multiple=True, metavar="HOST", help="A host that packs may reach for once.")
@click.option("--yes", is_flag=True, help="Take all that was found into the spec, without asking.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output; nothing is taken without --yes.")
@place_options
def learn(name: str, graph: Path | None, hosts: tuple[str, ...], yes: bool, as_json: bool, where: Where) -> None:
    """Find out which files the packs of an environment fetch, and make them files of the environment.

    A worker starts the newest revision once with the usual model sites open, and executes a workflow, if one is given.
    One in the editor's format needs an environment that a worker has tried, since that knows its nodes.

    \b
    comfyward environments learn portraits
    comfyward environments learn portraits --graph upscale.json --allow weights.example.com
    """
    document = None if graph is None else read_file(graph).to_run
    with where.opened() as place:
        place.lock(name)
        place.learn(name, hosts, document)
        found = _ended(place, name)
        usable = [file for file in found["files"] if file["url"]]
        if as_json:
            click.echo(json.dumps(found, indent=2))
        else:
            _print(found)
        if usable and (yes or (not as_json and click.confirm(f"Take {plural(len(usable), 'file')} into the spec?"))):
            place.accept_files(name)
            click.echo(f"'comfyward environments try {name}' makes a revision with them.", err=as_json)


def _ended(place: Place, name: str) -> dict[str, Any]:
    """The learning once it has ended; cancelled if this is interrupted. Raises Conflict if it failed."""
    with showing_steps(f"Learning {name}") as show:
        try:
            while (found := place.learning(name))["state"] not in ENDED:
                show("Trying the packs" if found["worker"] else WAITING, None)
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            place.cancel_learning(name)
            raise
    if found["state"] != "done":
        raise Conflict(found["message"] or "It was cancelled.")
    return found


def _print(found: dict[str, Any]) -> None:
    for file in found["files"]:
        click.echo(f"{file['path']} ({size(file['size'])}): {file['url'] or 'it is not known where it comes from'}")
    for host in found["refused"]:
        click.echo(f"Not reached: {host} (--allow {host.removesuffix(':443')})")
    if found["message"]:
        click.echo(f"In this trial: {found['message']}")
    if not found["files"]:
        click.echo("The packs have fetched nothing.")
