"""Environments in v1. Members see names and current revisions, which workflows can have; the rest is for admins."""

from __future__ import annotations

import base64

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.times import iso
from comfyward.api.v1 import answers
from comfyward.dispatch import promotions
from comfyward.dispatch.environment_overviews import overview, summary
from comfyward.dispatch.revisions import Revisions
from comfyward.environments.reference import Reference
from comfyward.environments.source import checked_name
from comfyward.environments.spec import parse_spec, spec_toml
from comfyward.errors import Forbidden, InvalidRequest, NotFound
from comfyward.store import environments, trials
from comfyward.store.db import Database, now_ms

BODY_LIMIT_BYTES = 1 << 20
PNG = "image/png"


class NewEnvironment(leniency.Request):
    name: str = Field(max_length=100)
    spec: str = Field(max_length=200_000, description='TOML, such as comfyui = "0.3.75".')


class SpecChange(leniency.Request):
    spec: str = Field(max_length=200_000, description="TOML. The next revision will have it.")


class Choice(leniency.Request):
    revision: int | None = Field(None, ge=1, lt=1 << 31, description="Default: the newest one.")


class Promotion(Choice):
    without_trial: bool = Field(False, description="Where there are no workers that could try it.")


class Environments:
    def __init__(self, auth: Auth, db: Database, revisions: Revisions) -> None:
        self._auth, self._db, self._revisions = auth, db, revisions

    def endpoints(self) -> list[Endpoint]:
        one, shown = "/environments/{name}", answers.Environment
        revision = f"{one}/revisions/{{number}}"
        new, changed = Models(body=NewEnvironment, answer=shown, status=201), Models(body=SpecChange, answer=shown)
        tried, promoted = Models(body=Choice, answer=shown), Models(body=Promotion, answer=shown)
        return [
            Endpoint("GET", "/environments", self.find, "Environments", Models(answer=list[answers.NamedEnvironment])),
            Endpoint("POST", "/environments", self.create, "Create an environment (admins)", new),
            Endpoint("GET", one, self.get, "An environment, its revisions and hosts (admins)", Models(answer=shown)),
            Endpoint("PATCH", one, self.change, "Change an environment's spec (admins)", changed),
            Endpoint("DELETE", one, self.delete, "Delete an environment (admins)", NOTHING),
            Endpoint("GET", revision, self.revision, "A revision (admins)", Models(answer=answers.Revision)),
            Endpoint("GET", f"{revision}/picture", self.picture, "The picture of its trial", Models(answer=PNG)),
            Endpoint("POST", f"{one}/try", self.ask_to_try, "Have workers build and try a revision (admins)", tried),
            Endpoint("POST", f"{one}/promote", self.promote, "Make a revision current (admins)", promoted),
            Endpoint(
                "POST", f"{one}/rollback", self.roll_back, "Go back to the last one (admins)", Models(answer=shown)
            ),
        ]

    async def find(self, request: Request) -> Response:
        await self._auth.caller(request)
        return answer([summary(each) for each in await self._db.read(environments.find)])

    async def create(self, request: Request) -> Response:
        await self._check_admin(request)
        body = await read_json(request, NewEnvironment, BODY_LIMIT_BYTES)
        name = checked_name(body.name, "an environment")
        await self._db.write(environments.create, name, spec_toml(parse_spec(body.spec)), now_ms())
        return await self._shown(name, 201)

    async def get(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not (await self._auth.caller(request)).account.is_admin:
            return answer(summary(await self._db.read(environments.get, name)))
        return await self._shown(name)

    async def change(self, request: Request) -> Response:
        await self._check_admin(request)
        body = await read_json(request, SpecChange, BODY_LIMIT_BYTES)
        name, spec = request.path_params["name"], spec_toml(parse_spec(body.spec))
        former = (await self._db.read(environments.get, name)).spec
        await self._db.write(environments.change_spec, name, former, spec, now_ms())
        return await self._shown(name)

    async def delete(self, request: Request) -> Response:
        await self._check_admin(request)
        await self._db.write(environments.delete_named, request.path_params["name"])
        self._revisions.changed()
        return Response(status_code=204)

    async def revision(self, request: Request) -> Response:
        await self._check_admin(request)
        name, number = request.path_params["name"], _number(request)
        shown = await self._db.read(overview, name, now_ms(), number)
        if not shown["revisions"]:
            raise environments.no_revision(name, number)
        return answer(_with_times(shown["revisions"][0]))

    async def picture(self, request: Request) -> Response:
        await self._check_admin(request)
        digests = await self._db.read(promotions.digests_of, request.path_params["name"], _number(request))
        for digest in digests.values():
            if (text := await self._db.read(trials.picture, digest)) is not None:
                headers = {
                    "X-Content-Type-Options": "nosniff",
                    "Content-Security-Policy": "sandbox; default-src 'none'",
                }
                return Response(base64.b64decode(text), media_type=PNG, headers=headers)
        raise NotFound("No trial of this revision has made a picture.")

    async def ask_to_try(self, request: Request) -> Response:
        await self._check_admin(request)
        body = await read_json(request, Choice, BODY_LIMIT_BYTES)
        await self._db.write(promotions.ask_to_try, Reference(request.path_params["name"], body.revision), now_ms())
        return await self._changed(request)

    async def promote(self, request: Request) -> Response:
        await self._check_admin(request)
        body = await read_json(request, Promotion, BODY_LIMIT_BYTES)
        reference, needs_trial = Reference(request.path_params["name"], body.revision), not body.without_trial
        number = await self._db.write(
            lambda conn: promotions.promote(conn, reference, now_ms(), needs_trial=needs_trial)
        )
        self._revisions.changed()
        warnings = await self._db.read(promotions.warnings, Reference(reference.name, number), now_ms())
        return await self._shown(reference.name, warnings=warnings)

    async def roll_back(self, request: Request) -> Response:
        await self._check_admin(request)
        await self._db.write(environments.roll_back, request.path_params["name"], now_ms())
        return await self._changed(request)

    async def _check_admin(self, request: Request) -> None:
        """Raises Unauthenticated, Forbidden."""
        if not (await self._auth.caller(request)).account.is_admin:
            raise Forbidden("Only admins can change environments.")

    async def _changed(self, request: Request) -> Response:
        self._revisions.changed()
        return await self._shown(request.path_params["name"])

    async def _shown(self, name: str, status: int = 200, **more: object) -> Response:
        shown = await self._db.read(overview, name, now_ms())
        return answer({**shown, "revisions": [_with_times(each) for each in shown["revisions"]], **more}, status)


def _with_times(revision: dict[str, object]) -> dict[str, object]:
    """A revision with its times as text."""
    times = {"created_at": iso(revision["created_at"]), "asked_at": iso(revision["asked_at"])}  # type: ignore[arg-type]
    hosts = [{**host, "changed_at": iso(host["changed_at"])} for host in revision["hosts"]]  # type: ignore[attr-defined]
    return {**revision, **times, "hosts": hosts}


def _number(request: Request) -> int:
    text = request.path_params["number"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest(f"'{text}' is not the number of a revision.")
    return int(text)
