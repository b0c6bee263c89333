"""comfyward models"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from comfyward.cli.connection import connect, connection_options, print_json
from comfyward.cli.groups import Group
from comfyward.cli.model_pins import memory, pin, pins, unpin
from comfyward.cli.options import Whole
from comfyward.cli.tables import moment_of, print_table
from comfyward.client import ApiError, Client
from comfyward.paths import model_at
from comfyward.wording import plural, size

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@click.group("models", cls=Group)
def command() -> None:
    """List, show, share and delete the models that you can use.

    \b
    comfyward models list portrait
    comfyward models show loras/style.safetensors
    """


@command.command("list")
@click.argument("words", nargs=-1)
@click.option("--folder", help="Only models of this folder, such as loras.")
@click.option("--architecture", help="Only models of this base architecture, such as SDXL.")
@click.option("--origin", type=click.Choice(["own", "link", "shared", "workers"]), help="Only models from there.")
@click.option("--unused-days", type=Whole(1, 36500), help="Only models that no run has named for so long.")
@click.option("--duplicates", is_flag=True, help="Only models whose bytes have several names.")
@click.option("--sort", type=click.Choice(["name", "size", "used", "added"]), default="name", show_default=True)
@click.option("--limit", type=Whole(1, 1000), default=100, show_default=True)
@json_option
@connection_options
def list_models(words: tuple[str, ...], as_json: bool, url: str, key: str | None, **which: Any) -> None:
    """List models; WORDS are looked for in all that is known of them.

    \b
    comfyward models list portrait --architecture SDXL
    comfyward models list --unused-days 90 --sort size
    """
    chosen = {name: value for name, value in which.items() if value}
    with connect(url, key) as client:
        found = client.call("GET", "/models/library", params={"q": " ".join(words), **chosen}).json()
    if as_json:
        return print_json(found)
    print_table(("model", "architecture", "size", "from", "used by", "last used"), [_row(m) for m in found["models"]])
    rest = found["total"] - len(found["models"])
    text = f"{plural(found['total'], 'model')}, {size(found['total_size'])}"
    click.echo(text + (f"; {rest:,} more: use --limit" if rest > 0 else ""), err=True)
    return None


@command.command("show")
@click.argument("model")
@json_option
@connection_options
def show(model: str, as_json: bool, url: str, key: str | None) -> None:
    """Show a model and what uses it.

    \b
    comfyward models show loras/style.safetensors
    """
    with connect(url, key) as client:
        found = client.call("GET", _address(model)).json()
    if as_json:
        return print_json(found)
    click.echo(_path(found) + ("  shared with all accounts" if found["shared"] else ""))
    facts = {name: found[name] for name in ("title", "architecture", "licence", "source", "digest")}
    facts["size"] = None if found["size"] is None else size(found["size"])
    facts["trigger words"] = ", ".join(found["trigger_words"])
    facts["runs"] = _uses(found)
    facts["workflows"] = ", ".join(each["name"] for each in found["workflows"])
    facts["same bytes"] = ", ".join(found["duplicates"])
    facts["hosts"] = ", ".join(found["hosts"] or ())
    for name, value in facts.items():
        if value:
            click.echo(f"  {name}: {value}")
    return None


@command.command("share")
@click.argument("model")
@click.option("--off", is_flag=True, help="End the sharing.")
@connection_options
def share(model: str, off: bool, url: str, key: str | None) -> None:
    """Share a model with all accounts (admins).

    \b
    comfyward models share checkpoints/base.safetensors
    """
    with connect(url, key) as client:
        found = client.call("PATCH", _address(model), json={"shared": not off}).json()
    click.echo(f"{_path(found)}  {'shared with all accounts' if found['shared'] else 'private'}")


@command.command("delete")
@click.argument("model")
@click.option("--yes", is_flag=True, help="Do not ask, whatever names it.")
@connection_options
def delete(model: str, yes: bool, url: str, key: str | None) -> None:
    """Delete a model, after saying what needs it. For a day that can be undone.

    \b
    comfyward models delete loras/style.safetensors
    """
    with connect(url, key) as client:
        removed = _deleted(client, model, confirmed=yes)
    click.echo(f"Deleted {removed['path']}. Undo until {moment_of(removed['until'])}:")
    click.echo(f"comfyward models restore {removed['id']}")


@command.command("restore")
@click.argument("deletion")
@connection_options
def restore(deletion: str, url: str, key: str | None) -> None:
    """Undo a deletion, by the id that 'delete' printed.

    \b
    comfyward models restore DELETION
    """
    with connect(url, key) as client:
        click.echo(f"Restored {client.call('POST', '/models/restore', json={'id': deletion}).json()['path']}")


for each in (pin, pins, unpin, memory):
    command.add_command(each)


def _deleted(client: Client, model: str, *, confirmed: bool) -> dict[str, Any]:
    """Deletes a model, and asks first if workflows name it. Raises Abort."""
    try:
        params = {"confirm": "true"} if confirmed else {}
        return dict(client.call("DELETE", _address(model), params=params).json())
    except ApiError as error:
        if error.code != "model_in_use":
            raise
        click.echo(error.message, err=True)
        click.confirm("Delete it all the same?", abort=True, err=True)
    return _deleted(client, model, confirmed=True)


def _row(model: Mapping[str, Any]) -> tuple[str, ...]:
    used = model["used_by"]
    return (
        f"{model['folder']}/{model['name']}",
        model["architecture"] or "-",
        "-" if model["size"] is None else size(model["size"]),
        "own, shared" if model["shared"] and model["origin"] == "own" else model["origin"],
        f"{plural(used['workflows'], 'workflow')}, {plural(used['runs'], 'run')}",
        moment_of(used["last_used_at"]) if used["last_used_at"] else "never",
    )


def _uses(model: Mapping[str, Any]) -> str:
    used = model["used_by"]
    last = f", the last on {moment_of(used['last_used_at'])}" if used["last_used_at"] else ""
    return f"{used['runs']:,}{last}"


def _path(model: Mapping[str, Any]) -> str:
    return f"{model['folder']}/{model['name']}"


def _address(model: str) -> str:
    """The address of a model given as FOLDER/NAME or /models/FOLDER/NAME."""
    name = model_at(model)
    if not all(name.partition("/")):
        raise click.BadParameter(f"'{model}' is not FOLDER/NAME, such as loras/style.safetensors.", param_hint="MODEL")
    return f"/models/{quote(name)}"
