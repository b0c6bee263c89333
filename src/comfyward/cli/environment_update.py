"""comfyward environments update"""

from __future__ import annotations

import click

from comfyward.cli.environment_changes import print_changes
from comfyward.cli.environment_options import Where, place_options
from comfyward.environments.updating import NEWEST


@click.command("update")
@click.argument("name")
@click.option(
    "--comfyui",
    is_flag=False,
    flag_value=NEWEST,
    default="",
    metavar="[VERSION]",
    help="Also move to a newer release of ComfyUI: the newest that is installed by version, or this one.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@place_options
def update(name: str, comfyui: str, yes: bool, where: Where) -> None:
    """Look for the newest versions of packs and packages, show what would change, and make a revision of it if wanted.

    Packs of the registries and of git move to their newest version; the spec gets these, and a new cutoff if it has
    one. Newer releases of ComfyUI are named.

    \b
    comfyward environments update portraits
    comfyward environments update portraits --comfyui 0.30.0 --yes
    """
    with where.opened() as place:
        proposed = place.update(name, comfyui)
        for note in proposed.notes:
            click.echo(note)
        if proposed.made is not None:
            click.echo(f"{proposed.made.reference} is up to date.")
        else:
            print_changes(proposed.changes)
        for offer in proposed.offers:
            command = f"comfyward environments update {name} --comfyui {offer['version']}"
            click.echo(f"ComfyUI {offer['version']} is newer: '{command}' moves to it.")
        if proposed.made is not None:
            return
        if not yes:
            click.confirm("Make a revision of this?", abort=True)
        made = place.accept(name)
    click.echo(f"Locked {made}: 'comfyward environments try {made}' has the workers try it.")
