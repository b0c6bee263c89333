"""The packs of an environment in v1, for admins: added by their source or as a zip archive, and removed by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json, read_upload
from comfyward.api.endpoint import FORM, Endpoint, Media, Models
from comfyward.api.v1 import environment_answers as answers
from comfyward.api.v1.environment_shapes import check_admin, environment_json
from comfyward.dispatch import specs
from comfyward.dispatch.shared_trees import SharedTrees
from comfyward.environments import index
from comfyward.environments.source import Folder, PackSource, parse_pack
from comfyward.environments.spec import Spec
from comfyward.errors import InvalidRequest
from comfyward.store import environments
from comfyward.store.db import Database, now_ms

BODY_LIMIT_BYTES = 1 << 20


class NewPacks(leniency.Request):
    sources: list[Annotated[str, Field(max_length=2500)]] = Field(
        min_length=1, max_length=500, description="Such as pypi:comfyui-tooling-nodes==0.1.0; see docs/environments.md."
    )


class PackForm(BaseModel):
    """A form with the zip archive of a pack, whose name is that of the file."""

    file: bytes


class EnvironmentPacks:
    def __init__(self, auth: Auth, db: Database, trees: SharedTrees, upload_limit_bytes: int) -> None:
        self._auth, self._db, self._trees, self._upload_limit = auth, db, trees, upload_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        path = "/environments/{name}/packs"
        added = Models(
            body=(NewPacks, Media(FORM, PackForm)),
            answer=answers.Environment,
            description="Packs of the same name are replaced. The next revision will have them.",
        )
        removed = Models(answer=answers.Environment)
        return [
            Endpoint("POST", path, self.add, "Add packs to an environment (admins)", added),
            Endpoint("DELETE", f"{path}/{{pack}}", self.remove, "Remove a pack from an environment (admins)", removed),
        ]

    async def add(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        name = request.path_params["name"]
        await self._db.read(environments.get, name)
        packs = await self._sent(request)
        return await self._change(name, lambda spec: spec.with_packs(packs))

    async def remove(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        pack = request.path_params["pack"]
        return await self._change(request.path_params["name"], lambda spec: spec.without_pack(pack))

    async def _sent(self, request: Request) -> Sequence[PackSource]:
        """The sources in a request. Raises InvalidEnvironment, InvalidRequest, TooLarge."""
        if request.headers.get("content-type", "").partition(";")[0].lower() == FORM:
            return [await self._unpacked(request)]
        body = await read_json(request, NewPacks, BODY_LIMIT_BYTES)
        packs = [parse_pack(source) for source in body.sources]
        await asyncio.to_thread(index.check, packs)
        return packs

    async def _unpacked(self, request: Request) -> Folder:
        """The pack in a form's archive, for all servers."""
        async with read_upload(request, self._upload_limit) as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile) or not (upload.filename or "").endswith(".zip"):
                raise InvalidRequest(
                    "The form has no field 'file' with a zip archive.", hint="curl -F file=@pack.zip …"
                )
            return await self._trees.add_upload(str(upload.filename), upload.file)

    async def _change(self, name: str, change: Callable[[Spec], Spec]) -> Response:
        await self._db.write(specs.change, name, change, now_ms())
        return answer(await self._db.read(environment_json, name, now_ms()))
