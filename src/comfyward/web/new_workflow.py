"""New workflows: empty, from a starter, from one of ComfyUI's templates, or from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.responses import Response

from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.conversion import SavedGraphs
from comfyward.dispatch.workflow_files import WorkflowFiles
from comfyward.ids import new_id
from comfyward.paths import INPUT_ROOT
from comfyward.store import files, workflows
from comfyward.store.db import Database, now_ms
from comfyward.store.rows import text_of as json_text
from comfyward.web.comfyui_templates import ComfyUITemplates
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError
from comfyward.web.workflow_file import carried_by
from comfyward.workflows import starters
from comfyward.workflows.carried import Carried
from comfyward.workflows.starters import STARTERS, Starter
from comfyward.workflows.workflow import Workflow

SAMPLES = Path(starters.__file__).parent / "samples"
IMPORT_LIMIT_BYTES = 256 << 20


class NewWorkflows:
    def __init__(
        self, db: Database, blobs: Blobs, templates: ComfyUITemplates, files: WorkflowFiles, graphs: SavedGraphs
    ) -> None:
        self._db, self._blobs, self._templates, self._files, self._graphs = db, blobs, templates, files, graphs

    def pages(self) -> list[Page]:
        return [
            Page("POST", "/workflows/new", self.create, "Create a workflow"),
            Page(
                "POST",
                "/workflows/import",
                self.import_file,
                "Create a workflow from a file",
                form_limit_bytes=IMPORT_LIMIT_BYTES,
            ),
        ]

    async def create(self, request: PageRequest) -> Response:
        form, account_id = await request.form(), request.account.id
        kind, _, name = text_of(form, "from").partition(":")
        title = text_of(form, "name", 200)
        if kind == "starter" and name in STARTERS:
            await self._bring_sample(account_id, STARTERS[name])
            workflow = from_starter(account_id, STARTERS[name], title)
            await self._create(workflow)
            return request.redirect(f"/workflows/{workflow.id}")
        if kind == "template":
            title = title or name.replace("_", " ").capitalize()
            carried = Carried(editor_graph=self._templates.graph(name))
            workflow = new_workflow(account_id, title, **await self._columns(account_id, carried))
        else:
            workflow = new_workflow(account_id, title or "Untitled")
        await self._create(workflow)
        return request.redirect(f"/workflows/{workflow.id}/edit")

    async def import_file(self, request: PageRequest) -> Response:
        upload = (await request.form()).get("file")
        if not isinstance(upload, UploadFile) or not upload.filename:
            raise PageError(
                "No file was selected.",
                hint="Choose a workflow exported from ComfyUI, or a picture, video or sound that it saved.",
            )
        carried = await carried_by(self._files, request.account.id, upload)
        name = Path(upload.filename).stem.replace("_", " ")[:200] or "Imported"
        workflow = new_workflow(request.account.id, name, **await self._columns(request.account.id, carried))
        await self._create(workflow)
        return request.redirect(f"/workflows/{workflow.id}")

    async def _columns(self, account_id: str, carried: Carried) -> dict[str, str | None]:
        """The columns of a workflow for the graphs of a file; what could not be carried over is its description."""
        graphs = await self._graphs.columns(account_id, carried.graph, carried.editor_graph, environment="")
        return graphs | ({"description": "\n".join(carried.remarks)} if carried.remarks else {})

    async def _create(self, workflow: Workflow) -> None:
        await self._db.write(workflows.create, workflow)

    async def _bring_sample(self, account_id: str, starter: Starter) -> None:
        """Adds the starter's sample to the account's files, unless it has a file of that name."""
        if starter.sample is not None:
            path = f"{INPUT_ROOT}{starter.sample}"
            if not await self._db.read(files.at, account_id, [path]):
                await self._blobs.keep_file(SAMPLES / starter.sample, account_id, path)


def from_starter(account_id: str, starter: Starter, title: str = "") -> Workflow:
    return new_workflow(
        account_id,
        title or starter.title,
        graph=json_text(starter.graph()),
        description=starter.description,
        form=json_text([{"key": key, "label": label} for key, label in starter.form]),
    )


def new_workflow(account_id: str, name: str, **fields: Any) -> Workflow:
    now = now_ms()
    return Workflow(id=new_id(), account_id=account_id, name=name, created_at=now, updated_at=now, **fields)
