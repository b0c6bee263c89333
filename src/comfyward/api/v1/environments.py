"""Environments in v1. Members see names and current revisions, which workflows can have; the rest is for admins."""

from __future__ import annotations

import base64
import functools

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.query import read_query
from comfyward.api.v1 import environment_answers as answers
from comfyward.api.v1.environment_shapes import (
    check_admin,
    environment_json,
    number_in,
    with_times,
)
from comfyward.dispatch import promotions, revision_differences, specs
from comfyward.dispatch.environment_overviews import is_changed, overview, promotes_the_next, summary
from comfyward.dispatch.lockings import Lockings
from comfyward.dispatch.revisions import Revisions
from comfyward.environments.reference import Reference
from comfyward.environments.source import checked_name
from comfyward.environments.spec import MAX_LENGTH, parse_spec
from comfyward.errors import NotFound
from comfyward.store import environments, rehearsals, trials
from comfyward.store.db import Database, now_ms
from comfyward.store.lockings import LOCK, PROMOTE, TRY, Wish

BODY_LIMIT_BYTES = 1 << 20
PNG = "image/png"
LOCKED_FIRST = (
    "If the spec was changed and no revision is named, the next one is made first: the answer is 202, and `locking` "
    "says how far that is."
)


class NewEnvironment(leniency.Request):
    name: str = Field(max_length=100)
    spec: str = Field(max_length=MAX_LENGTH, description='TOML, such as comfyui = "0.30.0".')


class SpecChange(leniency.Request):
    spec: str | None = Field(None, max_length=MAX_LENGTH, description="TOML. The next revision will have it.")
    auto_promote: bool | None = Field(
        None,
        description="Revisions that are tried from now on become current once their trials are good.",
    )


class Choice(leniency.Request):
    revision: int | None = Field(None, ge=1, lt=1 << 31, description="Default: the newest one.")


class Promotion(Choice):
    without_trial: bool = Field(False, description="Where there are no workers that could try it.")


class DiffQuery(BaseModel):
    before: int | None = Field(
        None, ge=0, lt=1 << 31, alias="from", description="The number of another revision. Default: the one before."
    )


class Environments:
    def __init__(self, auth: Auth, db: Database, revisions: Revisions, lockings: Lockings) -> None:
        self._auth, self._db, self._revisions, self._lockings = auth, db, revisions, lockings

    def endpoints(self) -> list[Endpoint]:
        one, shown = "/environments/{name}", answers.Environment
        revision = f"{one}/revisions/{{number}}"
        new, changed = Models(body=NewEnvironment, answer=shown, status=201), Models(body=SpecChange, answer=shown)
        tried = Models(body=Choice, answer=shown, description=LOCKED_FIRST)
        compared = Models(query=DiffQuery, answer=answers.Difference)
        unmarked = Models(answer=shown, description="Its account can mark it again (`in_trials` of the workflow).")
        promoted = Models(body=Promotion, answer=shown, description=LOCKED_FIRST)
        return [
            Endpoint("GET", "/environments", self.find, "Environments", Models(answer=list[answers.NamedEnvironment])),
            Endpoint("POST", "/environments", self.create, "Create an environment (admins)", new),
            Endpoint("GET", one, self.get, "An environment, its revisions and hosts (admins)", Models(answer=shown)),
            Endpoint("PATCH", one, self.change, "Change an environment's spec (admins)", changed),
            Endpoint("DELETE", one, self.delete, "Delete an environment (admins)", NOTHING),
            Endpoint("GET", revision, self.revision, "A revision (admins)", Models(answer=answers.Revision)),
            Endpoint("GET", f"{revision}/diff", self.diff, "What a revision changes (admins)", compared),
            Endpoint("GET", f"{revision}/picture", self.picture, "The picture of its trial", Models(answer=PNG)),
            Endpoint("POST", f"{one}/try", self.ask_to_try, "Have workers build and try a revision (admins)", tried),
            Endpoint(
                "DELETE", f"{one}/trials/{{workflow}}", self.unmark, "Take a workflow out of its trials", unmarked
            ),
            Endpoint("POST", f"{one}/promote", self.promote, "Make a revision current (admins)", promoted),
            Endpoint(
                "POST", f"{one}/rollback", self.roll_back, "Go back to the last one (admins)", Models(answer=shown)
            ),
        ]

    async def find(self, request: Request) -> Response:
        await self._auth.caller(request)
        return answer([summary(each) for each in await self._db.read(environments.find)])

    async def create(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        body = await read_json(request, NewEnvironment, BODY_LIMIT_BYTES)
        name = checked_name(body.name, "an environment")
        await self._db.write(specs.create, name, parse_spec(body.spec), now_ms())
        return await self._shown(name, 201)

    async def get(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not (await self._auth.caller(request)).account.is_admin:
            return answer(summary(await self._db.read(environments.get, name)))
        return await self._shown(name)

    async def change(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        body = await read_json(request, SpecChange, BODY_LIMIT_BYTES)
        name, now = request.path_params["name"], now_ms()
        former = (await self._db.read(environments.get, name)).spec
        if body.spec is not None:
            await self._db.write(specs.replace, name, former, parse_spec(body.spec), now)
        if (auto_promote := body.auto_promote) is not None:
            change = functools.partial(environments.set_auto_promote, auto_promote=auto_promote)
            await self._db.write(change, name, now)
        return await self._shown(name)

    async def delete(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        await self._db.write(environments.delete_named, request.path_params["name"])
        self._revisions.changed()
        return Response(status_code=204)

    async def revision(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        name, number = request.path_params["name"], number_in(request.path_params["number"])
        shown = await self._db.read(overview, name, now_ms(), number)
        if not shown["revisions"]:
            raise environments.no_revision(name, number)
        return answer(with_times(shown["revisions"][0]))

    async def diff(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        after = Reference(request.path_params["name"], number_in(request.path_params["number"]))
        number = read_query(request, DiffQuery).before
        before = None if number is None else Reference(after.name, number)
        return answer((await self._db.read(revision_differences.of, after, before)).shown())

    async def picture(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        digests = await self._db.read(
            promotions.digests_of, request.path_params["name"], number_in(request.path_params["number"])
        )
        for digest in digests.values():
            if (text := await self._db.read(trials.picture, digest)) is not None:
                headers = {
                    "X-Content-Type-Options": "nosniff",
                    "Content-Security-Policy": "sandbox; default-src 'none'",
                }
                return Response(base64.b64decode(text), media_type=PNG, headers=headers)
        raise NotFound("No trial of this revision has made a picture.")

    async def ask_to_try(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        body = await read_json(request, Choice, BODY_LIMIT_BYTES)
        reference = Reference(request.path_params["name"], body.revision)
        if await self._is_to_be_locked(reference):
            return await self._locked_first(request, TRY)
        await self._db.write(promotions.ask_to_try, reference, now_ms())
        return await self._changed(request)

    async def unmark(self, request: Request) -> Response:
        """A workflow of any account that holds up a promotion does so no more."""
        await check_admin(self._auth, request)
        await self._db.write(rehearsals.unmark, request.path_params["name"], request.path_params["workflow"])
        return await self._changed(request)

    async def promote(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        body = await read_json(request, Promotion, BODY_LIMIT_BYTES)
        reference, needs_trial = Reference(request.path_params["name"], body.revision), not body.without_trial
        if await self._db.read(promotes_the_next, reference, needs_trial):
            return await self._locked_first(request, PROMOTE)
        losses = await self._db.read(revision_differences.losses, reference)
        number = await self._db.write(
            lambda conn: promotions.promote(conn, reference, now_ms(), needs_trial=needs_trial)
        )
        self._revisions.changed()
        warnings = await self._db.read(promotions.warnings, Reference(reference.name, number), now_ms())
        return await self._shown(reference.name, warnings=[*losses, *warnings])

    async def roll_back(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        await self._db.write(environments.roll_back, request.path_params["name"], now_ms())
        return await self._changed(request)

    async def _is_to_be_locked(self, reference: Reference) -> bool:
        """True if the newest revision is meant, and the spec was changed since. Raises NotFound."""
        return reference.number is None and await self._db.read(is_changed, reference.name)

    async def _locked_first(self, request: Request, then: str) -> Response:
        """The next revision is made, and what was asked for follows."""
        name = request.path_params["name"]
        await self._lockings.begin(name, Wish(LOCK, next=then))
        return await self._shown(name, 202)

    async def _changed(self, request: Request) -> Response:
        self._revisions.changed()
        return await self._shown(request.path_params["name"])

    async def _shown(self, name: str, status: int = 200, **more: object) -> Response:
        shown = await self._db.read(environment_json, name, now_ms())
        return answer({**shown, **more}, status)
