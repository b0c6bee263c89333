"""comfyward environments export and import"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from comfyward.cli.environment_locks import EnvironmentRows, opened
from comfyward.cli.options import Choice, data_dir_option
from comfyward.comfy.releases import DEFAULT, RELEASES
from comfyward.environments.forms import cpack, installation, reading, snapshot
from comfyward.environments.forms.draft import Draft, Drafting, Lost
from comfyward.environments.reference import Reference
from comfyward.environments.source import Release, checked_name, parse_comfyui, parse_pack
from comfyward.environments.spec import Spec, parse_spec
from comfyward.environments.workshop import Workshop
from comfyward.errors import InvalidEnvironment
from comfyward.wording import plural

MAX_BYTES = 256 << 20
COMMITS = {release.version: release.commit for release in RELEASES.values() if release.commit}
VERSIONS = {commit: version for version, commit in COMMITS.items()}


@click.command("export")
@click.argument("reference", metavar="NAME[@REVISION]")
@click.option("--lock", "is_lock", is_flag=True, help="The lock of a revision, as JSON, instead of the spec.")
@click.option("--as", "form", type=Choice(["manager", "cpack"]), help="The form of another program, not the spec.")
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.  [default: print it]")
@data_dir_option
def export(reference: str, is_lock: bool, form: str | None, to: Path | None, data_dir: Path | None) -> None:
    """Print an environment's spec (TOML), which 'import' reads, or its form for another program.

    What another form cannot hold is reported. A revision is exported with its commits.

    \b
    comfyward environments export portraits > portraits.toml
    comfyward environments export portraits@7 --as manager > snapshot.json
    comfyward environments export portraits@7 --as cpack --to portraits.cpack.zip
    """
    asked, lost = Reference.parse(reference), list[Lost]()
    with opened(data_dir) as (rows, _):
        if is_lock:
            content = f"{rows.get(asked).text}\n".encode()
        elif form is None:
            content = rows.spec_text(asked).encode()
        else:
            content, lost = _written(form, _exact_spec(rows, asked))
    if to is not None:
        to.write_bytes(content)
    elif form == "cpack" and sys.stdout.isatty():
        raise click.UsageError("A .cpack.zip is not for a terminal: name a file with --to.")
    else:
        click.echo(content, nl=False)
    _report(lost, err=True)


@click.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, allow_dash=True))
@data_dir_option
def import_command(name: str, file: Path, data_dir: Path | None) -> None:
    """Create an environment from a file, or replace the spec of one. Nothing is fetched or built yet.

    Reads our own spec, snapshots of ComfyUI-Manager (JSON, YAML), .cpack.zip, comfygit's pyproject.toml and archive,
    comfy-cli's build file, and the folder of a ComfyUI. What does not come along is listed.

    \b
    comfyward environments import portraits portraits.toml
    comfyward environments import portraits snapshot.json
    comfyward environments import portraits ~/ComfyUI
    """
    with opened(data_dir) as (rows, workshop):
        draft = _draft(workshop, file)
        if name in rows.names():
            rows.change(name, lambda former: draft.spec)
        else:
            rows.create(checked_name(name, "an environment"), draft.spec)
    click.echo(f"{name} has ComfyUI {draft.spec.comfyui} and {plural(len(draft.spec.packs), 'pack')} now.")
    _report(draft.lost, err=False)


def _draft(workshop: Workshop, file: Path) -> Draft:
    default = Release(DEFAULT.version)
    if file.is_dir():
        if not installation.is_installation(file):
            raise InvalidEnvironment(f"There is no ComfyUI in {file}.", hint="Use the folder that contains main.py.")
        drafting = Drafting()
        installation.read(file, workshop.sources.add_folder, drafting)
        return drafting.draft(default)
    with click.open_file(str(file), "rb") as opened_file:
        content = opened_file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InvalidEnvironment(f"{file} has more than {MAX_BYTES} bytes.")
    return reading.read(content, VERSIONS, default)


def _exact_spec(rows: EnvironmentRows, asked: Reference) -> Spec:
    """The spec; of a revision, with the exact sources that its lock has."""
    spec = parse_spec(rows.spec_text(asked))
    if asked.number is None:
        return spec
    lock = rows.get(asked).lock
    packs = tuple(parse_pack(pack.source) for pack in lock.packs)
    return dataclasses.replace(spec, comfyui=parse_comfyui(lock.comfyui.source), packs=packs)


def _written(form: str, spec: Spec) -> tuple[bytes, list[Lost]]:
    if form == "cpack":
        return cpack.written(spec, COMMITS)
    values, lost = snapshot.written(spec, COMMITS)
    return f"{json.dumps(values, indent=2, ensure_ascii=False)}\n".encode(), lost


def _report(lost: Iterable[Lost], *, err: bool) -> None:
    for number, each in enumerate(lost):
        if number == 0:
            click.echo("Not taken over:", err=err)
        click.echo(f"  {each}", err=err)
