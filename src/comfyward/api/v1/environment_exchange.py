"""Environments come and go as files in v1, for admins: specs, locks, and the forms of other programs."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.body import answer, owner_of, read_body
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.query import read_query
from comfyward.api.v1 import environment_answers as answers
from comfyward.api.v1.environment_shapes import check_admin, environment_json
from comfyward.dispatch import specs
from comfyward.dispatch.exports import FILES, exported
from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.environments.forms import reading
from comfyward.environments.forms.draft import Draft
from comfyward.environments.forms.writing import NOT_TAKEN_OVER, VERSION_OF
from comfyward.environments.reference import Reference
from comfyward.environments.releases import DEFAULT_SOURCE
from comfyward.environments.source import checked_name
from comfyward.errors import InvalidRequest
from comfyward.store.db import Database, now_ms

BODY_LIMIT_BYTES = 64 << 20
MAX_SHOWN_LOST = 50


class ExportQuery(BaseModel):
    form: Literal["spec", "lock", "manager", "cpack"] = Field(
        "spec", description="Our own spec (TOML) or lock (JSON), ComfyUI-Manager's snapshot, or a .cpack.zip."
    )
    revision: int | None = Field(
        None,
        ge=1,
        lt=1 << 31,
        description="With its commits. Default: the spec as it is; of locks, that of the newest revision.",
    )


class EnvironmentExchange:
    def __init__(self, auth: Auth, db: Database) -> None:
        self._auth, self._db = auth, db

    def endpoints(self) -> list[Endpoint]:
        one = "/environments/{name}"
        as_file = Models(
            query=ExportQuery,
            answer=("application/toml", "application/json", "application/zip"),
            answer_headers={NOT_TAKEN_OVER: "A JSON list of what the form cannot hold, with the reason, if any."},
        )
        imported = Models(
            body=OCTET_STREAM,
            answer=answers.Imported,
            description="The form is told by the content. An environment of that name gets the spec, else one is made.",
        )
        return [
            Endpoint("GET", f"{one}/export", self.export, "An environment as a file (admins)", as_file),
            Endpoint("POST", f"{one}/import", self.import_file, "Make an environment of a file (admins)", imported),
        ]

    async def export(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        query, name = read_query(request, ExportQuery), request.path_params["name"]
        content, lost = await self._db.read(exported, Reference(name, query.revision), query.form)
        ending, media_type = FILES[query.form]
        file = f"{name}{f'-{query.revision}' if query.revision else ''}.{ending}"
        headers = {"Content-Disposition": f'attachment; filename="{file}"', "X-Content-Type-Options": "nosniff"}
        if lost:
            headers[NOT_TAKEN_OVER] = json.dumps([str(each) for each in lost[:MAX_SHOWN_LOST]])
        return Response(content, media_type=media_type, headers=headers)

    async def import_file(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        name = checked_name(request.path_params["name"], "an environment")
        content = await read_body(request, BODY_LIMIT_BYTES)
        if not content:
            raise InvalidRequest("The body is empty.", hint="Send the file: curl --data-binary @snapshot.json …")
        # Beside the event loop whatever its size: a small archive may hold much.
        draft = await HEAVY.run(owner_of(request), BODY_LIMIT_BYTES, lambda: _read(content))
        shown = await self._db.write(_imported, name, draft, now_ms())
        return answer({"environment": shown, "lost": [str(each) for each in draft.lost]})


def _read(content: bytes) -> Draft:
    return reading.read(content, VERSION_OF, DEFAULT_SOURCE)


def _imported(conn: Connection, name: str, draft: Draft, now: int) -> dict[str, object]:
    specs.put(conn, name, draft.spec, now)
    return environment_json(conn, name, now)
