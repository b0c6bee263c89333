"""comfyward environments find"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from comfyward.cli.options import data_dir_option, settings_from
from comfyward.environments.finding.finder import Finder
from comfyward.environments.finding.map_files import MapFiles
from comfyward.environments.finding.own_table import own_table
from comfyward.environments.finding.registry_answers import RegistryAnswers
from comfyward.errors import SetupFailed
from comfyward.files.guard import Guard
from comfyward.workflows.offer import NO_PACK_HINT, Offer, Origin, no_pack

ORIGINS = {
    Origin.CORE: "one of ComfyUI's own classes",
    Origin.TABLE: "your table",
    Origin.REGISTRY: "the registry",
    Origin.MAP: "ComfyUI-Manager's map",
    Origin.PATTERN: "a pattern in ComfyUI-Manager's map",
}


@click.command("find")
@click.argument("classes", nargs=-1, required=True, metavar="CLASS...")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@data_dir_option
def find(classes: tuple[str, ...], as_json: bool, data_dir: Path | None) -> None:
    """Find the packs that have node classes.

    \b
    comfyward environments find "Seed (rgthree)" ETN_LoadImageBase64
    """
    settings = settings_from(data_dir=data_dir)
    map_files = MapFiles(settings.derived_environments_dir(), settings.node_map_dir)
    try:
        map_files.fetch()
    except SetupFailed as error:
        click.echo(str(error), err=True)  # the other sources may have an answer
    registry = RegistryAnswers(settings.node_registry_url, Guard.allowing(settings.fetch_allow))
    finder = Finder(own_table(settings.node_table), registry, map_files)
    found = finder.ask(classes)
    if finder.is_registry_silent:
        click.echo("The registry did not answer.", err=True)
    if as_json:
        return click.echo(
            json.dumps({name: [each.facts() for each in found.get(name, ())] for name in classes}, indent=2)
        )
    for name in classes:
        for line in _lines(name, found.get(name, ())):
            click.echo(line)
    return None


def _lines(name: str, offers: Sequence[Offer]) -> Iterator[str]:
    yield name
    for offer in offers:
        what = f"ComfyUI {offer.comfyui}" if offer.comfyui else offer.source or offer.pack
        yield f"  {what}  ({offer.confidence}: {ORIGINS.get(offer.origin, offer.origin)})"
    if not offers:
        nothing = no_pack("it")
        yield f"  {nothing} {NO_PACK_HINT}"
