"""The frame of ComfyUI's editor on a workflow's page: at an origin of its own where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from comfyward.api.editor_address import EditorAddress
from comfyward.api.native.framed_editor import SANDBOX
from comfyward.api.tickets import LASTS_MS, Ticket, Tickets
from comfyward.dispatch.web_files import WebFiles
from comfyward.store.db import now_ms
from comfyward.web.page_request import PageRequest
from comfyward.workflows.workflow import Workflow

NEEDED = "clipboard-write; fullscreen"  # it copies text to other programs, and reads what a person pastes
FOR_NODES = "camera; microphone"


@dataclass(frozen=True)
class Frame:
    """`address` is what the frame shows. `origin` is None for a frame of the website's own origin.

    `packs` are the names of those whose scripts are allowed in the editor of the workflow; at the website's own origin
    they stay off all the same.
    """

    address: str
    origin: str | None = None
    packs: Sequence[str] = ()
    sandbox: str = SANDBOX

    @property
    def allow(self) -> str:
        """The browser's features that the editor may use: ComfyUI's own nodes record, packs may not."""
        return NEEDED if self.packs else f"{NEEDED}; {FOR_NODES}"


class EditorFrames:
    """Frames with a ticket, where the editor has an origin of its own."""

    def __init__(self, address: EditorAddress, tickets: Tickets, web_files: WebFiles) -> None:
        self._address, self._tickets, self._web_files = address, tickets, web_files

    async def on_page(self, request: PageRequest, workflow: Workflow) -> Frame:
        """The frame on the page of a workflow's editor, with the packs whose scripts are allowed."""
        # The page itself asks for it where the browser does not find the editor's host name.
        is_here = request.query("frame") == "here" and self._may_be_here
        frame = _frame_here(workflow.id) if is_here else self.of(request, workflow.id)
        return replace(frame, packs=(await self._web_files.of(workflow.environment, workflow.accelerator)).packs)

    def of(self, request: PageRequest, workflow_id: str) -> Frame:
        """The frame for a workflow on the page that is asked for."""
        page_origin, session_id = request.origin, request.caller.session_id
        origin = self._address.of(page_origin, request.account.id)
        if origin is None or session_id is None:
            return _frame_here(workflow_id)
        ticket = self._tickets.write(Ticket(session_id, workflow_id, page_origin, now_ms() + LASTS_MS))
        return Frame(f"{origin}/workflows/{workflow_id}/{ticket}/comfy/", origin)

    @property
    def _may_be_here(self) -> bool:
        """True if a page may choose the website's own origin: not where the operator chose another."""
        return self._address.configured is None


def _frame_here(workflow_id: str) -> Frame:
    """The frame for a workflow at the website's own origin."""
    return Frame(f"/workflows/{workflow_id}/comfy/")
