"""comfyward environments"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from comfyward.cli.environment_exchange import export, import_command
from comfyward.cli.environment_find import find
from comfyward.cli.environment_locks import EnvironmentRows, Stored, locked, opened
from comfyward.cli.environment_trials import promote, rollback, try_command, why
from comfyward.cli.options import data_dir_option
from comfyward.cli.steps import showing_steps
from comfyward.cli.tables import moment, print_table
from comfyward.comfy import releases
from comfyward.environments.builds import Build
from comfyward.environments.difference import Change, changes_between, script_changes
from comfyward.environments.reference import Reference
from comfyward.environments.source import ComfyUISource, PackSource, checked_name, parse_comfyui, parse_pack
from comfyward.environments.spec import Spec
from comfyward.environments.workshop import Workshop
from comfyward.wording import plural, size

KEPT_REVISIONS = 3

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group("environments")
def command() -> None:
    """Make environments: a ComfyUI with packs, pinned and built.

    \b
    comfyward environments create portraits --comfyui 0.3.75
    comfyward environments add portraits pypi:comfyui-tooling-nodes==0.1.0
    comfyward environments build portraits
    """


for each in (find, export, import_command, try_command, promote, rollback):
    command.add_command(each)


@command.command("create")
@click.argument("name")
@click.option(
    "--comfyui", default=releases.DEFAULT.version, show_default=True, help="A version, git+URL@COMMIT, or a path."
)
@data_dir_option
def create(name: str, comfyui: str, data_dir: Path | None) -> None:
    """Create an environment without packs. Nothing is fetched yet.

    \b
    comfyward environments create portraits --comfyui 0.3.75
    """
    with opened(data_dir) as (rows, workshop):
        spec = Spec(_comfyui(workshop, comfyui))
        rows.create(checked_name(name, "an environment"), spec)
    click.echo(
        f"Created {name} with ComfyUI {spec.comfyui}. Add packs, then run 'comfyward environments build {name}'."
    )


@command.command("add")
@click.argument("name")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@data_dir_option
def add(name: str, sources: tuple[str, ...], data_dir: Path | None) -> None:
    """Add packs, or replace those of the same name.

    \b
    comfyward environments add portraits cnr:comfyui-kjnodes@1.4.2
    comfyward environments add portraits git+https://github.com/rgthree/rgthree-comfy@COMMIT
    comfyward environments add portraits pypi:comfyui-tooling-nodes==0.1.0
    comfyward environments add portraits ./my-nodes
    """
    with opened(data_dir) as (rows, workshop):
        packs = [_pack(workshop, source) for source in sources]
        rows.change(name, lambda spec: spec.with_packs(packs))
    for pack in packs:
        click.echo(f"Added {pack}")


@command.command("web")
@click.argument("name")
@click.argument("packs", nargs=-1, required=True, metavar="PACK...")
@click.option("--off", is_flag=True, help="Do not allow them any more.")
@data_dir_option
def web(name: str, packs: tuple[str, ...], off: bool, data_dir: Path | None) -> None:
    """Allow the scripts of packs in ComfyUI's editor, from the next revision on.

    \b
    comfyward environments web portraits comfyui-kjnodes
    comfyward environments web portraits comfyui-kjnodes --off
    """

    def change(spec: Spec) -> Spec:
        for pack in packs:
            spec = spec.with_web(pack, is_allowed=not off)
        return spec

    with opened(data_dir) as (rows, _):
        rows.change(name, change)
    for pack in packs:
        click.echo(f"Scripts of {pack} are {'not allowed' if off else 'allowed'} from the next revision on.")


@command.command("remove")
@click.argument("name")
@click.argument("packs", nargs=-1, required=True, metavar="PACK...")
@data_dir_option
def remove(name: str, packs: tuple[str, ...], data_dir: Path | None) -> None:
    """Remove packs by name."""

    def change(spec: Spec) -> Spec:
        for pack in packs:
            spec = spec.without_pack(pack)
        return spec

    with opened(data_dir) as (rows, _):
        rows.change(name, change)
    for pack in packs:
        click.echo(f"Removed {pack}")


@command.command("lock")
@click.argument("name")
@click.option("--update", is_flag=True, help="Look for newer packages and commits although nothing was changed.")
@data_dir_option
def lock(name: str, update: bool, data_dir: Path | None) -> None:
    """Make the next revision: fetch all sources, choose the packages, and pin everything."""
    with opened(data_dir) as (rows, workshop):
        former = rows.newest(name)
        found = locked(rows, workshop, name, update)
    if former is not None and found.reference == former.reference:
        return click.echo(f"{found.reference} is up to date.")
    _print_changes(changes_between(former.lock if former else None, found.lock))
    return click.echo(f"Locked {found.reference} ({found.lock.digest[:12]}).")


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
        found = rows.get(asked) if asked.number else locked(rows, workshop, asked.name, update=False)
        with showing_steps(f"Building {found.reference}") as show:
            built = workshop.builder.build(found.lock, show)
    total, own = built.sizes()
    click.echo(f"Built {found.reference}: {size(total)}, {size(own)} of it not shared with other environments.")
    for line in _usage(built):
        click.echo(line)


@command.command("diff")
@click.argument("reference", metavar="NAME[@REVISION]")
@click.argument("other", required=False, metavar="[NAME@REVISION]")
@json_option
@data_dir_option
def diff(reference: str, other: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Show the changes of a revision, or those between two.

    \b
    comfyward environments diff portraits
    comfyward environments diff portraits@2 portraits@5
    """
    with opened(data_dir) as (rows, _):
        before: Stored | None
        if other is not None:
            before, after = rows.get(Reference.parse(reference)), rows.get(Reference.parse(other))
        else:
            after = rows.get(Reference.parse(reference))
            before = rows.before(after.reference)
        changes = changes_between(before.lock if before else None, after.lock)
        scripts, former = rows.scripts(after), rows.scripts(before) if before else []
    if scripts is not None and former is not None:
        changes += script_changes({each.path: str(each) for each in former}, {each.path: str(each) for each in scripts})
    if as_json:
        return click.echo(json.dumps([vars(change) for change in changes], indent=2))
    _print_changes(changes)
    if scripts is None:
        click.echo(f"The scripts of {after.reference} for the editor are known once a worker has tried it.")
    return None


@command.command("list")
@json_option
@data_dir_option
def list_environments(as_json: bool, data_dir: Path | None) -> None:
    """List the environments."""
    with opened(data_dir) as (rows, workshop):
        shown = [_shown(rows, workshop, name) for name in rows.names()]
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
@data_dir_option
def show(name: str, as_json: bool, data_dir: Path | None) -> None:
    """Show an environment: its packs, its revisions, and those that are built on this machine."""
    with opened(data_dir) as (rows, workshop):
        shown = _shown(rows, workshop, name)
        newest = rows.newest(name)
    if as_json:
        return click.echo(json.dumps(shown, indent=2))
    click.echo(f"{name}: ComfyUI {shown['comfyui']}, {plural(len(shown['packs']), 'pack')}")
    for pack in shown["packs"]:
        click.echo(f"  {pack}")
    for line in _scripts(shown["revisions"]):
        click.echo(line)
    if shown["is_changed"]:
        click.echo(f"Changed since its newest revision; 'comfyward environments build {name}' makes the next one.")
    for line in _remarks(newest):
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
@data_dir_option
def delete(name: str, yes: bool, data_dir: Path | None) -> None:
    """Delete an environment with its revisions. What was built of them stays until 'prune'."""
    with opened(data_dir) as (rows, _):
        count = len(rows.revisions(name))
        if not yes:
            click.confirm(f"Delete {name} with {plural(count, 'revision')}?", abort=True)
        rows.delete(name)
    click.echo(f"Deleted {name}.")


@command.command("prune")
@click.option("--keep", default=KEPT_REVISIONS, show_default=True, type=click.IntRange(min=1), help="Newest revisions.")
@yes_option
@data_dir_option
def prune(keep: int, yes: bool, data_dir: Path | None) -> None:
    """Remove what was built of older revisions and of deleted environments. The revisions themselves stay.

    What is current, was so before, or is named by a workflow or an unfinished run is kept. Stop servers that were
    started on another one first.
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


def _pack(workshop: Workshop, text: str) -> PackSource:
    return workshop.sources.add_folder(Path(text)) if Path(text).exists() else parse_pack(text)


def _comfyui(workshop: Workshop, text: str) -> ComfyUISource:
    return workshop.sources.add_folder(Path(text)) if Path(text).exists() else parse_comfyui(text)


def _shown(rows: EnvironmentRows, workshop: Workshop, name: str) -> dict[str, Any]:
    shown = rows.overview(name)
    return {**shown, "revisions": [_shown_revision(workshop, revision) for revision in shown["revisions"]]}


def _shown_revision(workshop: Workshop, revision: dict[str, Any]) -> dict[str, Any]:
    """A revision with readable times, and the folder in which it is built on this machine."""
    built = next(filter(None, map(workshop.builds.find, revision["targets"].values())), None)
    return {
        **revision,
        "state": "built" if built and revision["state"] == "locked" else revision["state"],
        "created": moment(revision["created_at"]),
        "created_at": _iso(revision["created_at"]),
        "asked_at": revision["asked_at"] and _iso(revision["asked_at"]),
        "hosts": [{**host, "changed_at": _iso(host["changed_at"])} for host in revision["hosts"]],
        "path": str(built.path) if built else None,
    }


def _iso(ms: int) -> str:
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).isoformat()


def _remarks(newest: Stored | None) -> Iterator[str]:
    """Lines about what packs ask for and a revision does not do."""
    if newest is None:
        return
    for requirement in newest.lock.forced:
        yield f"Forced: {requirement}"
    for pack in newest.lock.packs:
        for each in pack.ignored:
            yield f"{pack.folder}: '{each.line}' ({each.where}) has no effect: {each.reason}"
        if pack.install_script:
            yield f"{pack.folder}: has an install.py, which is never run"


def _scripts(revisions: list[dict[str, Any]]) -> Iterator[str]:
    """Lines about what packs of the newest revision bring for the editor."""
    for each in (revisions[0]["scripts"] or []) if revisions else []:
        what = f"{plural(each['scripts'], 'script')} for the editor ({size(each['script_bytes'])})"
        yield f"{each['pack']}: {what}, {'allowed' if each['is_allowed'] else 'not allowed'}"


def _print_changes(changes: list[Change]) -> None:
    for change in changes:
        click.echo(str(change))
    if not changes:
        click.echo("No changes.")


def _usage(built: Build) -> Iterator[str]:
    """The folder of an environment, and the command that starts a server with it."""
    yield "'comfyward environments try NAME' has the workers of a server try it. Or start a server on it alone:"
    yield f"  {built.path}"
    yield f"  COMFYWARD_CUSTOM_NODES_DIR={built.packs} comfyward serve --comfyui {built.comfyui}"
