"""comfyward runs"""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from comfyward.cli.connection import connect, connection_options, print_json, suggesting_runs, workflow_of
from comfyward.cli.follow import Follow
from comfyward.cli.groups import Group
from comfyward.cli.hints import hint_on_run
from comfyward.cli.options import Choice, Whole
from comfyward.cli.tables import moment_of, print_table
from comfyward.client import Run
from comfyward.runs.run import PublicStatus, State
from comfyward.wording import plural

CANCELLED = "CANCELLED"
STATUSES = [*map(str, PublicStatus), CANCELLED]
# In the API, ERROR includes cancelled runs, for clients that know no other failure.
_STATUSES: dict[str, dict[str, str]] = {
    PublicStatus.ERROR: {"state": State.FAILED, "status": PublicStatus.ERROR},
    CANCELLED: {"state": State.CANCELLED},
}

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@click.group("runs", cls=Group)
def command() -> None:
    """List, show, cancel and retry runs; get their logs and outputs.

    \b
    comfyward runs list
    comfyward runs show RUN
    comfyward runs download RUN --out pictures
    """


@command.command("list")
@click.option("--status", type=Choice(STATUSES), help="Only runs with this status.")
@click.option("--workflow", help="Only runs of this workflow: its id or name.")
@click.option("--limit", type=Whole(1, 1000), default=20, show_default=True)
@json_option
@connection_options
def list_runs(status: str | None, workflow: str | None, limit: int, as_json: bool, url: str, key: str | None) -> None:
    """List runs, newest first.

    \b
    comfyward runs list --status ERROR
    comfyward runs list --workflow portraits
    """
    with connect(url, key) as client:
        workflow_id = workflow_of(client, workflow) if workflow else None
        found = client.find(**_STATUSES.get(status or "", {"status": status}), workflow=workflow_id, limit=limit)
        names = {} if as_json else {each["id"]: str(each["name"]) for each in client.workflows()}
    if as_json:
        return print_json([run.data for run in found])
    rows = [
        (
            run.id,
            _status(run),
            names.get(run.workflow_id, run.workflow_id),
            run.data["accelerator"],
            moment_of(run.data["created_at"]),
            _took(run),
            plural(len(run.outputs), "file"),
        )
        for run in found
    ]
    return print_table(("id", "status", "workflow", "accelerator", "created", "took", "outputs"), rows)


@command.command("show")
@click.argument("run_id")
@json_option
@connection_options
def show(run_id: str, as_json: bool, url: str, key: str | None) -> None:
    """Show a run: its status, outputs and error.

    \b
    comfyward runs show RUN
    comfyward runs show RUN --json | jq .error
    """
    with connect(url, key) as client, suggesting_runs(client, run_id):
        run = client.get(run_id)
    if as_json:
        return print_json(run.data)
    when = moment_of(run.data["created_at"])
    click.echo(f"{run.id}  {_status(run)}  {run.data['accelerator']}  {when}  {_took(run)}")
    for output in run.outputs:
        click.echo(f"  {output.name}  {plural(output.size, 'byte')}  {output.url}")
    error = dict(run.data.get("error") or {})
    error["hint"] = hint_on_run(run) if error else None
    for name in ("message", "hint", "node_id", "node_type"):
        if error.get(name):
            click.echo(f"  {name}: {error[name]}")
    return None


@command.command("cancel")
@click.argument("run_ids", nargs=-1, required=True)
@connection_options
def cancel(run_ids: tuple[str, ...], url: str, key: str | None) -> None:
    """Cancel runs: waiting ones immediately, running ones at their next step.

    \b
    comfyward runs cancel RUN
    comfyward runs list --status queued --json | jq -r '.[].id' | xargs comfyward runs cancel
    """
    with connect(url, key) as client:
        for run_id in run_ids:
            with suggesting_runs(client, run_id):
                run = client.cancel(run_id)
            click.echo(f"{run.id}  {_status(run) if run.is_over else 'cancelling'}")


@command.command("retry")
@click.argument("run_id")
@click.option("--idempotency-key", metavar="KEY", help="Repeating the command with the same key makes no second run.")
@connection_options
def retry(run_id: str, idempotency_key: str | None, url: str, key: str | None) -> None:
    """Start a new run with the same graph, files and settings, and print its id.

    \b
    comfyward runs retry RUN
    """
    with connect(url, key) as client, suggesting_runs(client, run_id):
        click.echo(client.retry(run_id, idempotency_key=idempotency_key).id)


@command.command("logs")
@click.argument("run_id")
@connection_options
def logs(run_id: str, url: str, key: str | None) -> None:
    """Print ComfyUI's log of a run.

    \b
    comfyward runs logs RUN
    """
    with connect(url, key) as client, suggesting_runs(client, run_id):
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
    with connect(url, key) as client, suggesting_runs(client, run_id):
        run = client.get(run_id)
        saved = Follow(Console(stderr=True, quiet=as_json), shows_pictures=False).download(client, run, out)
    click.echo(json.dumps([str(path) for path in saved]) if as_json else "\n".join(map(str, saved)))


def _status(run: Run) -> str:
    """The API's status, except that a cancelled run is CANCELLED and an error has its reason."""
    match run.end_reason:
        case None | "completed" | "insufficient_credit":
            return run.status
        case "cancelled":
            return CANCELLED
        case reason:
            return f"{run.status} ({reason})"


def _took(run: Run) -> str:
    took_ms = run.data.get("run_time")
    return "-" if took_ms is None else f"{took_ms / 1000:.1f} s"
