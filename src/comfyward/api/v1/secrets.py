"""Named secrets of v1: tokens for the hosts of files. A value is stored, used, replaced and deleted, never shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.accounts.account import Account
from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.query import read_query
from comfyward.api.times import iso
from comfyward.api.v1 import answers
from comfyward.dispatch import named_secrets as dispatch
from comfyward.dispatch.named_secrets import NewSecret
from comfyward.errors import Forbidden
from comfyward.runs.named_secret import AUTHORIZATION, MAX_HOSTS, MAX_PATTERN, NamedSecret
from comfyward.store import named_secrets
from comfyward.store.db import Database

BODY_LIMIT_BYTES = 1 << 16


class SecretRequest(leniency.Request):
    """A secret to store, in place of the one of this name."""

    value: str = Field(description="Such as a token. It is stored encrypted, and never shown again.")
    hosts: list[Annotated[str, Field(max_length=MAX_PATTERN)]] = Field(
        default_factory=list,
        max_length=MAX_HOSTS,
        description="Where it may be sent: example.com, *.example.com, example.com:8443, http://10.0.0.5:8080. "
        "Default: the hosts of Hugging Face for HF_TOKEN, and of Civitai for CIVITAI_TOKEN.",
    )
    header: str = Field(AUTHORIZATION, description="The header that carries it.")
    shared: bool = Field(False, description="Share it with all accounts (admins).")


class SecretQuery(BaseModel):
    shared: bool = Field(False, description="The secret of this name that is shared with all accounts (admins).")


class Secrets:
    def __init__(self, auth: Auth, db: Database, secrets: dispatch.NamedSecrets) -> None:
        self._auth, self._db, self._secrets = auth, db, secrets

    def endpoints(self) -> list[Endpoint]:
        one = "/secrets/{name}"
        put = Models(body=SecretRequest, answer=answers.Secret)
        gone = Models(query=SecretQuery, status=NOTHING.status)
        listed = Models(answer=list[answers.Secret])
        return [
            Endpoint("GET", "/secrets", self.find, "The secrets that this account may use, without values", listed),
            Endpoint("PUT", one, self.put, "Store a secret for hosts of files", put),
            Endpoint("DELETE", one, self.delete, "Delete a secret", gone),
        ]

    async def find(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        return answer([self._shape(each) for each in await self._secrets.of(caller.account.id)])

    async def put(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        body = await read_json(request, SecretRequest, BODY_LIMIT_BYTES)
        new = NewSecret(request.path_params["name"], body.value, body.hosts, body.header)
        return answer(self._shape(await self._secrets.put(owner_of(caller.account, shared=body.shared), new)))

    async def delete(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        owner = owner_of(caller.account, shared=read_query(request, SecretQuery).shared)
        await self._db.write(named_secrets.remove, owner, request.path_params["name"])
        return Response(status_code=204)

    def _shape(self, secret: NamedSecret) -> dict[str, object]:
        return {
            "name": secret.name,
            "hosts": [str(pattern) for pattern in secret.hosts],
            "header": secret.header,
            "shared": secret.is_shared,
            "readable": self._secrets.is_readable(secret),
            "created_at": iso(secret.created_at),
            "last_used_at": iso(secret.used_at),
        }


def owner_of(account: Account, *, shared: bool) -> str:
    """The account's id, or the one that stands for all accounts. Raises Forbidden."""
    if shared and not account.is_admin:
        raise Forbidden("Only admins can share secrets with all accounts.")
    return named_secrets.SHARED if shared else account.id
