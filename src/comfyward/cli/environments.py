"""comfyward environments"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from comfyward.cli.environment_changes import print_changes, print_classes
from comfyward.cli.environment_exchange import export, import_command
from comfyward.cli.environment_find import find
from comfyward.cli.environment_folder import FolderPlace
from comfyward.cli.environment_learn import learn
from comfyward.cli.environment_locks import opened
from comfyward.cli.environment_options import Where, place_options
from comfyward.cli.environment_trials import promote, rollback, try_command, unmark, why
from comfyward.cli.environment_update import update
from comfyward.cli.groups import Group
from comfyward.cli.options import Whole, data_dir_option
from comfyward.cli.steps import showing_steps
from comfyward.cli.tables import print_table
from comfyward.environments.builds import Build
from comfyward.environments.reference import Reference
from comfyward.environments.releases import DEFAULT_VERSION
from comfyward.wording import plural, size

KEPT_REVISIONS = 3

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group("environments", cls=Group)
def command() -> None:
    """Make environments: a ComfyUI with packs, pinned and built.

    \b
    comfyward environments create portraits --comfyui 0.30.0
    comfyward environments add portraits pypi:comfyui-tooling-nodes==0.1.0
    comfyward environments build portraits
    """


for each in (find, export, import_command, learn, try_command, promote, rollback, unmark, update):
    command.add_command(each)


@command.command("create")
@click.argument("name")
@click.option("--comfyui", default=DEFAULT_VERSION, show_default=True, help="A version, git+URL@COMMIT, or a path.")
@place_options
def create(name: str, comfyui: str, where: Where) -> None:
    """Create an environment without packs. Nothing is fetched yet.

    \b
    comfyward environments create portraits --comfyui 0.30.0
    """
    with where.opened() as place:
        source = place.create(name, comfyui)
    click.echo(f"Created {name} with ComfyUI {source}. Add packs, then run 'comfyward environments try {name}'.")


@command.command("add")
@click.argument("name")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@place_options
def add(name: str, sources: tuple[str, ...], where: Where) -> None:
    """Add packs, or replace those of the same name. A version that the package index does not have is refused.

    \b
    comfyward environments add portraits cnr:comfyui-kjnodes@1.4.2
    comfyward environments add portraits git+https://github.com/rgthree/rgthree-comfy@COMMIT
    comfyward environments add portraits pypi:comfyui-tooling-nodes==0.1.0
    comfyward environments add portraits ./my-nodes
    """
    with where.opened() as place:
        packs = place.add(name, sources)
    for pack in packs:
        click.echo(f"Added {pack}")


@command.command("web")
@click.argument("name")
@click.argument("packs", nargs=-1, required=True, metavar="PACK...")
@click.option("--off", is_flag=True, help="Do not allow them any more.")
@place_options
def web(name: str, packs: tuple[str, ...], off: bool, where: Where) -> None:
    """Allow the scripts of packs in ComfyUI's editor, from the next revision on.

    \b
    comfyward environments web portraits comfyui-kjnodes
    comfyward environments web portraits comfyui-kjnodes --off
    """
    with where.opened() as place:
        place.allow_scripts(name, packs, is_allowed=not off)
    for pack in packs:
        click.echo(f"Scripts of {pack} are {'not allowed' if off else 'allowed'} from the next revision on.")


@command.command("remove")
@click.argument("name")
@click.argument("packs", nargs=-1, required=True, metavar="PACK...")
@place_options
def remove(name: str, packs: tuple[str, ...], where: Where) -> None:
    """Remove packs by name.

    \b
    comfyward environments remove portraits comfyui-kjnodes
    """
    with where.opened() as place:
        place.remove(name, packs)
    for pack in packs:
        click.echo(f"Removed {pack}")


@command.command("lock")
@click.argument("name")
@click.option("--update", is_flag=True, help="Look for newer packages and commits although nothing was changed.")
@place_options
def lock(name: str, update: bool, where: Where) -> None:
    """Make the next revision: fetch all sources, choose the packages, and pin everything.

    \b
    comfyward environments lock portraits
    comfyward environments lock portraits --update
    """
    with where.opened() as place:
        made = place.lock(name, is_again=update)
    if not made.is_new:
        return click.echo(f"{made.reference} is up to date.")
    print_changes(made.changes)
    return click.echo(f"Locked {made.reference} ({made.digest[:12]}).")


@command.command("build")
@click.argument("reference", metavar="NAME[@REVISION]")
@data_dir_option
def build(reference: str, data_dir: Path | None) -> None:
    """Build a revision on this machine: the newest, which is locked first if anything was changed since.

    \b
    comfyward environments build portraits
    comfyward environments build portraits@3
    """
    asked = Reference.parse(reference)
    with opened(data_dir) as (rows, workshop):
        found = rows.get(asked) if asked.number else FolderPlace(rows, workshop).locked(asked.name)[0]
        with showing_steps(f"Building {found.reference}") as show:
            built = workshop.builder.build(found.lock, show)
    total, own = built.sizes()
    click.echo(f"Built {found.reference}: {size(total)}, {size(own)} of it not shared with other environments.")
    for line in _usage(found.reference.name, built):
        click.echo(line)


@command.command("diff")
@click.argument("reference", metavar="NAME[@REVISION]")
@click.argument("other", required=False, metavar="[NAME@REVISION]")
@json_option
@place_options
def diff(reference: str, other: str | None, as_json: bool, where: Where) -> None:
    """Show the changes of a revision, or those between two.

    \b
    comfyward environments diff portraits
    comfyward environments diff portraits@2 portraits@5
    """
    first = Reference.parse(reference)
    with where.opened() as place:
        found = place.difference(first, Reference.parse(other)) if other else place.difference(None, first)
    if as_json:
        return click.echo(json.dumps(found, indent=2))
    print_changes(found["changes"])
    return print_classes(found)


@command.command("list")
@json_option
@place_options
def list_environments(as_json: bool, where: Where) -> None:
    """List the environments.

    \b
    comfyward environments list
    comfyward environments list --json
    """
    with where.opened() as place:
        shown = place.all()
    if as_json:
        return click.echo(json.dumps(shown, indent=2))
    table = [
        (
            each["name"],
            each["comfyui"],
            str(len(each["packs"])),
            each["revisions"][0]["revision"] if each["revisions"] else "-",
            each["revisions"][0]["state"] if each["revisions"] else "-",
            "yes" if each["is_changed"] else "no",
        )
        for each in shown
    ]
    return print_table(("name", "ComfyUI", "packs", "revision", "state", "changed since"), table)


@command.command("show")
@click.argument("name")
@json_option
@place_options
def show(name: str, as_json: bool, where: Where) -> None:
    """Show an environment: its packs, its revisions, and those that are built on this machine.

    \b
    comfyward environments show portraits
    """
    with where.opened() as place:
        shown, remarks = place.shown(name), place.remarks(name)
    if as_json:
        return click.echo(json.dumps(shown, indent=2))
    click.echo(f"{name}: ComfyUI {shown['comfyui']}, {plural(len(shown['packs']), 'pack')}")
    for pack in shown["packs"]:
        click.echo(f"  {pack}")
    for line in _scripts(shown["revisions"]):
        click.echo(line)
    for each in shown.get("in_trials", ()):
        click.echo(f"Its trials repeat '{each['name']}' of {each['owner']} ({each['workflow']})")
    if shown["is_changed"]:
        click.echo(f"Changed since its newest revision; 'comfyward environments build {name}' makes the next one.")
    for line in remarks:
        click.echo(line)
    for revision in shown["revisions"]:
        for host in revision["hosts"]:
            click.echo(f"{revision['revision']} on {host['host']} ({host['worker']}): {host['state']}{why(host)}")
    if shown["revisions"]:
        columns = ("revision", "state", "created", "digest", "path")
        print_table(columns, [tuple(str(each[key] or "-") for key in columns) for each in shown["revisions"]])
    return None


@command.command("delete")
@click.argument("name")
@yes_option
@place_options
def delete(name: str, yes: bool, where: Where) -> None:
    """Delete an environment with its revisions. What was built of them stays until 'prune'.

    \b
    comfyward environments delete portraits
    comfyward environments prune
    """
    with where.opened() as place:
        count = len(place.shown(name)["revisions"])
        if not yes:
            click.confirm(f"Delete {name} with {plural(count, 'revision')}?", abort=True)
        place.delete(name)
    click.echo(f"Deleted {name}.")


@command.command("prune")
@click.option("--keep", default=KEPT_REVISIONS, show_default=True, type=Whole(min=1), help="Newest revisions.")
@yes_option
@data_dir_option
def prune(keep: int, yes: bool, data_dir: Path | None) -> None:
    """Remove what was built of older revisions and of deleted environments. The revisions themselves stay.

    What is current, was so before, or is named by a workflow or an unfinished run is kept. Stop servers that were
    started on another one first.

    \b
    comfyward environments prune
    comfyward environments prune --keep 1
    """
    with opened(data_dir) as (rows, workshop):
        kept, trees = rows.kept(keep)
        others = [built for built in workshop.builds.all() if built.digest not in kept]
        for built in others:
            click.echo(f"{built.path}: {size(built.sizes()[1])}")
        if others and not yes:
            click.confirm(f"Remove {plural(len(others), 'built environment')}?", abort=True)
        for built in others:
            workshop.builds.remove(built.digest)
        sources = workshop.trees.remove_all_but(trees)
    click.echo(f"Removed {plural(len(others), 'built environment')} and {plural(sources, 'source')}.")


def _scripts(revisions: list[dict[str, Any]]) -> Iterator[str]:
    """Lines about what packs of the newest revision bring for the editor."""
    for each in (revisions[0]["scripts"] or []) if revisions else []:
        what = f"{plural(each['scripts'], 'script')} for the editor ({size(each['script_bytes'])})"
        yield f"{each['pack']}: {what}, {'allowed' if each['is_allowed'] else 'not allowed'}"


def _usage(name: str, built: Build) -> Iterator[str]:
    """The folder of an environment, and the command that starts a server with it."""
    yield f"'comfyward environments try {name}' has the workers of a server try it. Or start a server on it alone:"
    yield f"  {built.path}"
    yield f"  COMFYWARD_CUSTOM_NODES_DIR={built.packs} comfyward serve --comfyui {built.comfyui}"
