"""The workflow in a file that is given to a command."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from comfyward.dispatch.workflow_files import WorkflowFiles
from comfyward.errors import InvalidGraph
from comfyward.files.pictures import Decoders
from comfyward.sandbox.temporary import TemporaryFolder
from comfyward.workflows.carried import Carried
from comfyward.workflows.graph_limit import GraphLimit

MOST_BYTES = 64 << 20  # the server has a limit of its own


def read_file(path: Path) -> Carried:
    """The graphs in a file, or in what standard input gives for "-". Says what could not be carried over.

    Raises a usage error for a file without a workflow.
    """
    try:
        carried = _read(path)
    except InvalidGraph as error:
        message = f"{error.message} {error.hint or ''}".strip()
        raise click.BadParameter(message, param_hint=f"'{path}'") from error
    for remark in carried.remarks:
        click.secho(remark, fg="yellow", err=True)
    return carried


def _read(path: Path) -> Carried:
    files = WorkflowFiles(Decoders(), GraphLimit(MOST_BYTES))
    if str(path) != "-":
        return asyncio.run(files.read("", path))
    with TemporaryFolder() as folder:
        (folder / "input").write_bytes(sys.stdin.buffer.read())
        return asyncio.run(files.read("", folder / "input"))
