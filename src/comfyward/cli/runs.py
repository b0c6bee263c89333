"""comfyward runs"""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from comfyward.cli.connection import connect, connection_options, print_json
from comfyward.cli.follow import Follow
from comfyward.client import Run
from comfyward.runs.run import PublicStatus

json_option = click.option("--json", "as_json", is_flag=True, help="For machines.")


@click.group("runs")
def command() -> None:
    """List runs, look at one, cancel it, run it again, read its log, fetch its outputs."""


@command.command("list")
@click.option("--status", type=click.Choice([str(status) for status in PublicStatus], case_sensitive=False))
@click.option("--workflow", help="Only runs of this workflow.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@connection_options
def list_runs(status: str | None, workflow: str | None, limit: int, as_json: bool, url: str, key: str | None) -> None:
    """List runs, newest first.

    \b
    comfyward runs list --status ERROR
    """
    with connect(url, key) as client:
        found = client.find(status=status.upper() if status else None, workflow=workflow, limit=limit)
    if as_json:
        return print_json([run.data for run in found])
    table = Table("id", "status", "accelerator", "created", "took", "made", box=None)
    for run in found:
        table.add_row(run.id, _status(run), run.data["accelerator"], _time(run), _took(run), str(len(run.outputs)))
    return Console(soft_wrap=True).print(table)


@command.command("show")
@click.argument("run_id")
@json_option
@connection_options
def show(run_id: str, as_json: bool, url: str, key: str | None) -> None:
    """Show a run: how it went, what it made, what went wrong."""
    with connect(url, key) as client:
        run = client.get(run_id)
    if as_json:
        return print_json(run.data)
    console = Console(soft_wrap=True)
    console.print(f"{run.id}  {_status(run)}  {run.data['accelerator']}  {_time(run)}  {_took(run)}")
    for output in run.outputs:
        console.print(f"  {output.name}  {output.size} bytes  {output.url}")
    error = run.data.get("error") or {}
    for name in ("message", "hint", "node_id", "node_type"):
        if error.get(name):
            console.print(f"  {name}: {error[name]}")
    return None


@command.command("cancel")
@click.argument("run_ids", nargs=-1, required=True)
@connection_options
def cancel(run_ids: tuple[str, ...], url: str, key: str | None) -> None:
    """Cancel runs: waiting ones at once, running ones at their next step."""
    with connect(url, key) as client:
        for run_id in run_ids:
            run = client.cancel(run_id)
            click.echo(f"{run.id}  {_status(run) if run.is_over else 'cancelling'}")


@command.command("retry")
@click.argument("run_id")
@click.option("--idempotency-key", metavar="KEY", help="The same key makes one run, however often this is repeated.")
@connection_options
def retry(run_id: str, idempotency_key: str | None, url: str, key: str | None) -> None:
    """Run it again with the same graph, files and settings; prints the new run's id."""
    with connect(url, key) as client:
        click.echo(client.retry(run_id, idempotency_key=idempotency_key).id)


@command.command("logs")
@click.argument("run_id")
@connection_options
def logs(run_id: str, url: str, key: str | None) -> None:
    """Print ComfyUI's log of a run."""
    with connect(url, key) as client:
        click.echo(client.log(run_id), nl=False)


@command.command("download")
@click.argument("run_id")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), show_default=True)
@json_option
@connection_options
def download(run_id: str, out: Path, as_json: bool, url: str, key: str | None) -> None:
    """Save a run's outputs.

    \b
    comfyward runs download RUN --out pictures
    """
    with connect(url, key) as client:
        run = client.get(run_id)
        saved = Follow(Console(quiet=as_json), shows_pictures=False).download(client, run, out)
    click.echo(json.dumps([str(path) for path in saved]) if as_json else "\n".join(map(str, saved)))


def _status(run: Run) -> str:
    return run.status if run.end_reason in (None, "completed") else f"{run.status} ({run.end_reason})"


def _time(run: Run) -> str:
    return str(run.data["created_at"])[:16].replace("T", " ")


def _took(run: Run) -> str:
    took_ms = run.data.get("run_time")
    return "-" if took_ms is None else f"{took_ms / 1000:.1f} s"
