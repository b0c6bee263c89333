"""comfyward check"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from comfyward.cli.connection import connect, connection_options, print_json
from comfyward.cli.tables import print_table
from comfyward.cli.workflow_file import read_file
from comfyward.client import Check, Client, Got, Job
from comfyward.wording import plural, size

EXIT_LACKING = 3
MAX_PLACES = 3
FITS = {
    "together": "all models fit at once",
    "in_turn": "the models fit one after the other, not all at once",
    "too_large": "the largest model is larger than its memory",
    "unknown": "it is not known if the models fit",
}


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option("--get", "gets", is_flag=True, help="Get what is missing, and wait until it is there.")
@click.option("--environment", help="The environment to look at. Default: the one that lacks the least.")
@click.option("--model-url", "urls", multiple=True, metavar="PATH=URL", help="The address of a model, for --get.")
@click.option("--promote", is_flag=True, help="With --get: make the new revision of --environment current.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@connection_options
def command(
    file: Path,
    gets: bool,
    environment: str | None,
    urls: tuple[str, ...],
    promote: bool,
    as_json: bool,
    url: str,
    key: str | None,
) -> None:
    """Say what a workflow's file lacks at the server: nodes, models, files; where they are, and how large.

    The file is JSON in either of ComfyUI's formats (- reads it from standard input), or any other that carries a
    workflow, as for 'comfyward run'.

    \b
    comfyward check workflow.json
    comfyward check picture.png
    comfyward check workflow.json --get
    comfyward check workflow.json --get --model-url /models/loras/mine.safetensors=https://…

    Exit codes: 0 it runs, 3 something is missing, 1 any other error.
    """
    if (urls or promote) and not gets:
        raise click.UsageError(f"{'--model-url' if urls else '--promote'} is for --get.")
    document = read_file(file).document
    with connect(url, key) as client:
        if not gets:
            found = client.check(document, environment=environment)
            print_json(dict(found.data)) if as_json else _show(found)
            sys.exit(0 if found.runs else EXIT_LACKING)
        known = dict(map(_parse_url, urls))
        got = client.get_missing(document, environment=environment, name=file.stem, urls=known, promote=promote)
        jobs = _followed(client, got, quiet=as_json)
    if as_json:
        print_json({**got.data, "jobs": [dict(job.data) for job in jobs]})
    else:
        _show_got(got, jobs)
    is_whole = not (got.uploads or got.left or got.check.problems) and all(job.state == "done" for job in jobs)
    sys.exit(0 if is_whole else EXIT_LACKING)


def _parse_url(text: str) -> tuple[str, str]:
    path, equals, url = text.partition("=")
    if not equals or not path or not url:
        raise click.BadParameter(f"'{text}' is not PATH=URL.", param_hint="--model-url")
    return path, url


def _show(found: Check) -> None:
    if found.runs:
        return click.echo(f"Nothing is missing: it runs in the environment {found.environment}.")
    if rows := [*_rows(found)]:
        print_table(("missing", "what", "where from", "size", "wanted by"), rows)
    for problem in found.problems:
        where = f"{_place(problem['node'])}: " if problem["node"] else ""
        click.secho(f"Problem: {where}{problem['message']}", fg="yellow")
    click.echo("\n".join(_summary(found)))
    return None


def _rows(found: Check) -> Iterator[tuple[str, str, str, str, str]]:
    for each in found.classes:
        packs = [pack["source"] or f"ComfyUI {pack['comfyui'] or ''}".strip() for pack in each["packs"][:2]]
        others = [f"environment {name}" for name in each["environments"][:2]]
        yield each["class_type"], "node", " or ".join([*others, *packs]) or "unknown", "", _places(each["nodes"])
    for each in found.models:
        yield (
            each["name"],
            f"model ({each['folder'] or '?'})",
            _source(each),
            _size(each["size"]),
            _places(each["nodes"]),
        )
    for each in found.inputs:
        yield each["name"], "file", "upload it", "", _places(each["nodes"])


def _source(model: dict[str, Any]) -> str:
    notes = [model["url"] or "unknown"]
    if model["import"]:
        notes.append("being fetched")
    if model["gated"]:
        notes.append(f"gated: {model['hint']}")
    elif model["problem"]:
        notes.append(model["problem"])
    if model["licence"]:
        notes.append(f"licence {model['licence']}")
    return ", ".join(notes)


def _size(count: int | None) -> str:
    return "?" if count is None else size(count)


def _places(nodes: Sequence[dict[str, Any]]) -> str:
    shown = [_place(each) for each in nodes[:MAX_PLACES]]
    return ", ".join(shown) + (f" and {len(nodes) - MAX_PLACES} more" if len(nodes) > MAX_PLACES else "")


def _place(node: dict[str, Any]) -> str:
    return f"{node['id']} ({node['title']})" if node["title"] else str(node["id"])


def _summary(found: Check) -> Iterator[str]:
    data = found.data
    sizes = [size(found.bytes)] if found.bytes else []
    if data["unknown_sizes"]:
        sizes.append(f"{plural(data['unknown_sizes'], 'model')} of unknown size")
    if sizes:
        yield f"To fetch: {', and '.join(sizes)}."
    for each in data["environments"]:
        lacks = each["lacks"]
        said = "not known yet" if lacks is None else f"lacks {len(lacks)}" if lacks else "has all nodes"
        yield f"Environment {each['name']}: {said}."
    for each in data["accelerators"]:
        yield f"Accelerator {each['name']}: {FITS[each['fit']]}."


def _followed(client: Client, got: Got, *, quiet: bool) -> list[Job]:
    """The jobs once they have ended, with a bar for each. When interrupted, the server goes on."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True, quiet=quiet), transient=True) as progress:

        def tell(job: Job) -> None:
            if job.id not in bars:
                bars[job.id] = progress.add_task(job.what, total=None, told="")
            done, total = _part(job)
            progress.update(bars[job.id], completed=done, total=total, told=_step(job))

        try:
            return client.wait_for_jobs(got.jobs, tell)
        except KeyboardInterrupt:
            click.echo("\nThe server goes on. The same command shows how far it is.", err=True)
            raise


def _part(job: Job) -> tuple[float, float | None]:
    if job.data["total"]:
        return job.data["done"] or 0, job.data["total"]
    return (0.0, None) if job.data["part"] is None else (job.data["part"], 1.0)


def _step(job: Job) -> str:
    return job.data["step"] or (f"{size(job.data['done'])}" if job.data["done"] else job.state)


def _show_got(got: Got, jobs: Sequence[Job]) -> None:
    for job in jobs:
        message = f": {job.data['message']}" if job.data["message"] else ""
        where = f" (environment {job.data['environment']})" if job.data["environment"] else ""
        click.echo(f"{job.what}: {job.data['step'] or job.state}{message}{where}")
    for each in got.uploads:
        click.echo(f"{each['name']}: upload it, or pass it to the run with --file {each['path']}=FILE")
    for each in got.left:
        click.secho(f"{each['what']}: {each['message']} {each['hint']}".rstrip(), fg="yellow")
    for problem in got.check.problems:
        click.secho(f"Problem: {problem['message']}", fg="yellow")
    if not (jobs or got.uploads or got.left or got.check.problems):
        click.echo(f"Nothing is missing: it runs in the environment {got.check.environment}.")
