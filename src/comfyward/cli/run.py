"""comfyward run"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from comfyward.cli.connection import connect, connection_options, exit_code, print_json, workflow_of
from comfyward.cli.follow import PICTURE_TERMINALS, Follow
from comfyward.cli.hints import hint_on_run
from comfyward.cli.options import TYPO_SIMILARITY, Number, Whole
from comfyward.cli.workflow_file import read_file
from comfyward.client import Client, Run
from comfyward.runs.files import is_address
from comfyward.wording import closest
from comfyward.workflows.carried import Carried, with_editor_graph
from comfyward.workflows.graph import names_of, parse_graph


@click.command("run")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="PATH=SOURCE",
    help="A file for the run: /input/… or /models/…, from a URL or a local file.",
)
@click.option("--set", "changes", multiple=True, metavar="NODE.INPUT=VALUE", help="Change an input; JSON or a string.")
@click.option("--workflow", default="default", show_default=True, help="The run's workflow: its id or name.")
@click.option("--environment", help="The environment to run in: its name, or NAME@REVISION.  [default: the workflow's]")
@click.option("--accelerator", help="The accelerator to run on.")
@click.option("--priority", type=Whole(-100, 100), help="Runs with higher priority go first.")
@click.option("--timeout", type=Number(0, least_open=True), help="Longest execution in seconds.")
@click.option("--webhook", help="A URL to notify when the run starts and finishes.")
@click.option("--tag", "tags", multiple=True, help="A tag to find the run by.")
@click.option("--idempotency-key", metavar="KEY", help="Repeating the command with the same key makes no second run.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Wait for the end and show progress.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Save the outputs in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print only the finished (with --no-follow: new) run, as JSON.")
@click.option("--terminal", envvar="TERM_PROGRAM", default="", hidden=True)
@connection_options
def command(
    file: Path,
    files: tuple[str, ...],
    changes: tuple[str, ...],
    workflow: str,
    environment: str | None,
    tags: tuple[str, ...],
    follow: bool,
    out: Path | None,
    as_json: bool,
    terminal: str,
    url: str,
    key: str | None,
    **request: Any,
) -> None:
    """Run the workflow in a file, show its progress and save its outputs.

    The file is JSON in either of ComfyUI's formats (- reads it from standard input), or a picture, video, sound, SVG,
    GLB or safetensors file that carries a workflow.

    \b
    comfyward run workflow.json --out pictures
    comfyward run picture.png --set 3.seed=7
    comfyward run workflow.json --environment portraits
    comfyward run graph.json --file /input/a.png=./a.png --set 3.seed=7 --accelerator L4
    comfyward run graph.json --json | jq -r '.output[].url'

    Exit codes: 0 succeeded, 3 the run failed, 4 the run was cancelled, 5 out of credit, 1 any other error.
    """
    carried = read_file(file)
    with connect(url, key) as client:
        workflow_id = workflow_of(client, workflow)
        run = client.submit(
            changed(api_graph(client, carried, workflow_id, environment), changes) if changes else carried.to_run,
            extra_data=with_editor_graph(None, carried.editor_graph),
            workflow=workflow_id,
            environment=environment,
            files=dict(map(parse_file, files)),
            tags=list(tags) or None,
            **request,
        )
        if not follow and out is None:
            return print_json(run.data) if as_json else click.echo(run.id)
        shows_pictures = terminal in PICTURE_TERMINALS and sys.stderr.isatty()
        run = finish(client, run, out, quiet=as_json, shows_pictures=shows_pictures)
        if as_json:
            print_json(run.data)
    sys.exit(exit_code(run))


def finish(client: Client, run: Run, out: Path | None, *, quiet: bool, shows_pictures: bool) -> Run:
    """Waits for the run, prints its error or outputs unless `quiet`, and saves the outputs in `out`."""
    console = Console(stderr=True, quiet=quiet)
    follow = Follow(console, shows_pictures=shows_pictures)
    try:
        run = client.wait(run.id) if quiet else follow.run(client, run.id, classes_of(run.data["data"]["prompt"]))
    except KeyboardInterrupt:
        click.echo(f"\nThe run continues. Cancel it with: comfyward runs cancel {run.id}", err=True)
        raise
    if run.end_reason == "cancelled" and not quiet:
        click.echo("Cancelled.", err=True)
    elif not run.succeeded and not quiet:
        error = run.data.get("error") or {}
        click.secho(f"Error: {error.get('message') or run.end_reason}", fg="red", err=True)
        if hint := hint_on_run(run):
            click.echo(f"Hint: {hint}", err=True)
    saved = save(follow, client, run, out) if out is not None else []
    if not quiet:
        for line in map(str, saved) if out is not None else (output.url for output in run.outputs):
            click.echo(line)
    return run


def save(follow: Follow, client: Client, run: Run, out: Path) -> list[Path]:
    """Saves the outputs of a run. Raises ClickException, which says how to get them all the same."""
    try:
        return follow.download(client, run, out)
    except OSError as error:
        raise click.ClickException(
            f"The outputs cannot be saved in {out}: {error.strerror}. The server keeps them: "
            f"'comfyward runs download {run.id} --out FOLDER' gets them."
        ) from error


def classes_of(prompt: dict[str, Any]) -> dict[str, str]:
    return names_of(parse_graph(prompt), {})


def api_graph(client: Client, carried: Carried, workflow_id: str, environment: str | None) -> dict[str, Any]:
    """The graph in the API's form, whose inputs can be changed by name; the server converts the editor's.

    Without an environment, that of the workflow counts.
    """
    if carried.graph is not None:
        return carried.graph
    if environment is None:
        environment = client.call("GET", f"/workflows/{workflow_id}").json()["environment"]
    content = json.dumps({"workflow": carried.editor_graph, "environment": environment}).encode()
    return dict(client.call("POST", "/workflows/convert", content=content).json()["prompt"])


def changed(prompt: dict[str, Any], changes: tuple[str, ...]) -> dict[str, Any]:
    """The graph with inputs changed by NODE.INPUT=VALUE. A value that is not JSON is a string."""
    for change in changes:
        target, equals, text = change.partition("=")
        node_id, dot, name = target.rpartition(".")
        if not equals or not dot or not name:
            raise click.BadParameter(f"'{change}' is not NODE.INPUT=VALUE.", param_hint="--set")
        if node_id not in prompt:
            raise click.BadParameter(
                f"The graph has no node '{node_id}' (it has {', '.join(sorted(prompt)[:20])}).", param_hint="--set"
            )
        meant = closest(name, prompt[node_id].get("inputs", {}), TYPO_SIMILARITY)
        if meant and meant != name and name not in prompt[node_id]["inputs"]:
            message = f"Warning: node {node_id} has no input '{name}'. Did you mean '{meant}'?"
            click.secho(message, fg="yellow", err=True)
        prompt = {**prompt, node_id: _with_input(prompt[node_id], name, _value(text))}
    return prompt


def parse_file(text: str) -> tuple[str, str | Path]:
    """(path in the run, URL or local file) of PATH=SOURCE. Raises a usage error."""
    path, equals, source = text.partition("=")
    if not equals or not path or not source:
        raise click.BadParameter(f"'{text}' is not PATH=SOURCE.", param_hint="--file")
    if is_address(source):
        return path, source
    if not Path(source).is_file():
        raise click.BadParameter(f"There is no file '{source}'.", param_hint="--file")
    return path, Path(source)


def _with_input(node: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**node, "inputs": {**node.get("inputs", {}), name: value}}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
