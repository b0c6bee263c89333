"""Graphs in files that are dropped on a page, and the words for files that have none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from starlette.datastructures import UploadFile

from comfyward.dispatch.workflow_files import WorkflowFiles
from comfyward.errors import InvalidGraph
from comfyward.web.problems import PageError
from comfyward.workflows.carried import NO_WORKFLOW, Carried

PIECE_BYTES = 1 << 20


async def carried_by(files: WorkflowFiles, owner: str, upload: UploadFile) -> Carried:
    """The graphs in an account's file. Raises PageError if there is none."""
    name = Path(upload.filename or "").name
    try:
        return await files.read_pieces(owner, _pieces(upload))
    except InvalidGraph as error:
        why = "" if error.message == NO_WORKFLOW else f" {error.message}"
        raise PageError(f"'{name}' does not contain a ComfyUI workflow.{why}", hint=error.hint) from error


async def _pieces(upload: UploadFile) -> AsyncIterator[bytes]:
    while piece := await upload.read(PIECE_BYTES):
        yield piece
