"""The graphs that files carry, in v1."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.body import answer, upload_pieces
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.receiving import received
from comfyward.api.v1 import answers
from comfyward.dispatch import workflow_files

FILE_LIMIT_BYTES = 256 << 20
READ = """The body is the file: JSON in either format or with both, PNG, WEBP, JPEG, AVIF, GIF, MP4, MOV, WEBM, MKV,
FLAC, MP3, OPUS, OGG, SVG, GLB, a latent or another safetensors file. Its content tells what it is. Parameters of Stable
Diffusion WebUI in a picture become a plain text-to-image graph. Nothing is stored."""


class WorkflowFiles:
    def __init__(self, auth: Auth, files: workflow_files.WorkflowFiles) -> None:
        self._auth, self._files = auth, files

    def endpoints(self) -> list[Endpoint]:
        read = Models(body=OCTET_STREAM, answer=answers.CarriedGraphs, description=READ)
        return [Endpoint("POST", "/workflows/read", self.read, "Read the workflow in a file", read)]

    async def read(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        async with received(request, caller.account.id):
            carried = await self._files.read_pieces(caller.account.id, upload_pieces(request, FILE_LIMIT_BYTES))
        found = {"prompt": carried.graph, "workflow": carried.editor_graph, "remarks": list(carried.remarks)}
        return answer(found)
