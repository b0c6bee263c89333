"""comfyward models pin, pins, unpin, memory"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from comfyward.cli.connection import connect, connection_options, print_json
from comfyward.cli.options import Whole
from comfyward.cli.tables import moment_of, print_table
from comfyward.wording import plural, size

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@click.command("pin")
@click.argument("model", required=False, default="")
@click.option("--workflow", default="", help="Pin all models that this workflow names, by its id.")
@click.option("--accelerator", required=True, help="The pool whose workers keep it, such as L40S.")
@click.option("--workers", type=Whole(1, 10_000), default=1, show_default=True, help="How many of them.")
@connection_options
def pin(model: str, workflow: str, accelerator: str, workers: int, url: str, key: str | None) -> None:
    """Keep a model in the memory of workers' hosts (admins).

    \b
    comfyward models pin checkpoints/flux-dev.safetensors --accelerator L40S --workers 2
    comfyward models pin --workflow WORKFLOW --accelerator L40S
    """
    if bool(model) == bool(workflow):
        raise click.UsageError("Name either a model or a workflow.")
    body = {"model": model, "workflow": workflow, "accelerator": accelerator, "workers": workers}
    with connect(url, key) as client:
        for each in client.call("POST", "/model-pins", json=body).json():
            known = f" ({size(each['size'])})" if each["size"] else ""
            click.echo(f"Pinned {each['model']}{known} on {plural(workers, 'worker')} of {each['accelerator']}.")


@click.command("pins")
@json_option
@connection_options
def pins(as_json: bool, url: str, key: str | None) -> None:
    """List pinned models, and which workers have them in memory (admins).

    \b
    comfyward models pins
    """
    with connect(url, key) as client:
        found = client.call("GET", "/model-pins").json()
    if as_json:
        return print_json(found)
    print_table(("id", "model", "accelerator", "in memory on", "problem"), [_row(each) for each in found])
    return None


@click.command("unpin")
@click.argument("pin_id", metavar="ID")
@connection_options
def unpin(pin_id: str, url: str, key: str | None) -> None:
    """Unpin a model, by the id that 'pins' prints (admins).

    \b
    comfyward models unpin PIN
    """
    with connect(url, key) as client:
        client.call("DELETE", f"/model-pins/{pin_id}")
    click.echo("Unpinned. It stays in memory until its room is needed.")


@click.command("memory")
@json_option
@connection_options
def memory(as_json: bool, url: str, key: str | None) -> None:
    """Show the models in the memory of workers' hosts (admins).

    \b
    comfyward models memory
    """
    with connect(url, key) as client:
        found = client.call("GET", "/model-memory").json()
    if as_json:
        return print_json(found)
    rows = [row for each in found for row in _kept(each)]
    print_table(("worker", "model", "in memory", "since", "pinned"), rows)
    return None


def _row(pin: Mapping[str, Any]) -> tuple[str, ...]:
    whole = [each for each in pin["held_by"] if pin["size"] and each["resident"] >= pin["size"]]
    problems = {each["problem"] for each in pin["held_by"] if each["problem"]}
    if pin["missing"]:
        problems.add(f"{plural(pin['missing'], 'worker')} not there or without room")
    return pin["id"], pin["model"], pin["accelerator"], f"{len(whole)} of {pin['workers']}", " ".join(sorted(problems))


def _kept(worker: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    for model in worker["models"]:
        held = size(model["resident"]) + ("" if model["since"] else f" of {size(model['size'])}")
        since = moment_of(model["since"]) if model["since"] else "-"
        yield worker["worker"], model["model"], held, since, "yes" if model["pinned"] else ""
