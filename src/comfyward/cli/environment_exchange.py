"""comfyward environments export and import"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from comfyward.cli.environment_options import Where, place_options
from comfyward.cli.options import Choice
from comfyward.environments.reference import Reference
from comfyward.errors import InvalidEnvironment
from comfyward.wording import plural

MAX_BYTES = 256 << 20


@click.command("export")
@click.argument("reference", metavar="NAME[@REVISION]")
@click.option("--lock", "is_lock", is_flag=True, help="The lock of a revision, as JSON, instead of the spec.")
@click.option("--as", "form", type=Choice(["manager", "cpack"]), help="The form of another program, not the spec.")
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.  [default: print it]")
@place_options
def export(reference: str, is_lock: bool, form: str | None, to: Path | None, where: Where) -> None:
    """Print an environment's spec (TOML), which 'import' reads, or its form for another program.

    What another form cannot hold is reported. A revision is exported with its commits.

    \b
    comfyward environments export portraits > portraits.toml
    comfyward environments export portraits@7 --as manager > snapshot.json
    comfyward environments export portraits@7 --as cpack --to portraits.cpack.zip
    """
    with where.opened() as place:
        content, lost = place.export(Reference.parse(reference), "lock" if is_lock else form or "spec")
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
@place_options
def import_command(name: str, file: Path, where: Where) -> None:
    """Create an environment from a file, or replace the spec of one. Nothing is fetched or built yet.

    Reads our own spec, snapshots of ComfyUI-Manager (JSON, YAML), .cpack.zip, comfygit's pyproject.toml and archive,
    comfy-cli's build file, and the folder of a ComfyUI. What does not come along is listed.

    \b
    comfyward environments import portraits portraits.toml
    comfyward environments import portraits snapshot.json
    comfyward environments import portraits ~/ComfyUI
    """
    with where.opened() as place:
        if file.is_dir():
            shown, lost = place.import_folder(name, file)
        else:
            shown, lost = place.import_file(name, _content(file))
    click.echo(f"{name} has ComfyUI {shown['comfyui']} and {plural(len(shown['packs']), 'pack')} now.")
    _report(lost, err=False)


def _content(file: Path) -> bytes:
    with click.open_file(str(file), "rb") as opened_file:
        content: bytes = opened_file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InvalidEnvironment(f"{file} has more than {MAX_BYTES} bytes.")
    return content


def _report(lost: Iterable[str], *, err: bool) -> None:
    for number, each in enumerate(lost):
        if number == 0:
            click.echo("Not taken over:", err=err)
        click.echo(f"  {each}", err=err)
