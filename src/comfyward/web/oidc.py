"""Login by an identity provider (OpenID Connect, authorization code with PKCE). Needs `pip install comfyward[oidc]`.

A user of the provider without an account gets one if COMFYWARD_OIDC_SIGNUP is set, and is refused otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from sqlalchemy import Connection
from starlette.responses import Response

from comfyward.accounts.account import Account
from comfyward.api.auth import Auth
from comfyward.errors import Conflict, NotFound, SetupFailed
from comfyward.settings import Settings
from comfyward.store import accounts
from comfyward.store.db import Database, now_ms
from comfyward.web.login import HOME, begin_session, own_path
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest
from comfyward.web.problems import PageError

try:
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet
except ImportError:  # the extra is not installed
    KeySet = None  # type: ignore[assignment,misc]

log = logging.getLogger(__name__)

CALLBACK = "/login/oidc/back"
COOKIE = "comfyward_oidc"
COOKIE_LASTS_S = 600
LONGEST_NEXT = 250  # characters: browsers keep cookies of 4 KiB
TIMEOUT = aiohttp.ClientTimeout(total=15)
ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "EdDSA"]


@dataclass(frozen=True)
class Provider:
    """An OpenID Connect provider and this server's registration with it."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    signup: bool  # users without an account get one

    @classmethod
    def of(cls, settings: Settings) -> Provider | None:
        """The provider of the settings, if one is set."""
        if settings.oidc_issuer is None:
            return None
        client_id, client_secret = settings.oidc_client_id or "", settings.oidc_client_secret or ""
        return cls(settings.oidc_issuer.rstrip("/"), client_id, client_secret, settings.oidc_signup)


class OidcLogin:
    def __init__(self, db: Database, auth: Auth, provider: Provider | None) -> None:
        self._db, self._auth, self._configured = db, auth, provider

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/login/oidc", self.begin, "Log in at the identity provider", Access.EVERYONE),
            Page("GET", CALLBACK, self.finish, "The identity provider's response", Access.EVERYONE),
        ]

    async def begin(self, request: PageRequest) -> Response:
        """A redirect to the provider; a cookie holds what its response must match."""
        endpoint = str((await self._discovery())["authorization_endpoint"])
        flow = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        back = own_path(request.query("next"))
        flow["next"] = back if len(back) <= LONGEST_NEXT else HOME
        query = {
            "response_type": "code",
            "client_id": self._provider.client_id,
            "redirect_uri": _callback_url(request),
            "scope": "openid profile email",
            "state": flow["state"],
            "nonce": flow["nonce"],
            "code_challenge": _challenge(flow["verifier"]),
            "code_challenge_method": "S256",
        }
        response = request.redirect(f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}")
        secure = request.base_url.startswith("https://")
        response.set_cookie(COOKIE, json.dumps(flow), COOKIE_LASTS_S, httponly=True, samesite="lax", secure=secure)
        return response

    async def finish(self, request: PageRequest) -> Response:
        """Begins a session. Raises PageError unless the response is the provider's and belongs to this browser."""
        try:
            flow = json.loads(request.http.cookies.get(COOKIE, ""))
            is_ours = secrets.compare_digest(str(flow["state"]), request.query("state"))
        except (ValueError, KeyError, TypeError, RecursionError):
            is_ours = False
        if not is_ours or not request.query("code"):
            hint = request.query("error_description") or "Start again from the login page."
            raise PageError("Your organization refused the login.", hint=hint[:300], status=403)
        claims = await self._claims(request, flow)
        account = await self._db.write(_account_of, claims, self._provider.signup)
        response = await begin_session(self._db, self._auth, request, account, own_path(str(flow.get("next", ""))))
        response.delete_cookie(COOKIE)
        return response

    @property
    def _provider(self) -> Provider:
        """Raises PageError if none is configured, SetupFailed if the extra is not installed."""
        if self._configured is None:
            raise PageError("Login with your organization is not configured.", status=404)
        if KeySet is None:
            raise SetupFailed("OpenID Connect support is not installed.", hint="pip install 'comfyward[oidc]'")
        return self._configured

    async def _discovery(self) -> dict[str, Any]:
        return await _json("GET", f"{self._provider.issuer}/.well-known/openid-configuration")

    async def _claims(self, request: PageRequest, flow: dict[str, str]) -> dict[str, Any]:
        """The user's claims, after a check of signature, issuer, audience, time and nonce. Raises PageError."""
        provider, found = self._provider, await self._discovery()
        form = {
            "grant_type": "authorization_code",
            "code": request.query("code"),
            "redirect_uri": _callback_url(request),
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "code_verifier": flow["verifier"],
        }
        answer = await _json("POST", found["token_endpoint"], data=form)
        keys = KeySet.import_key_set(await _json("GET", found["jwks_uri"]))  # type: ignore[arg-type]
        rules = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": found["issuer"]},
            aud={"essential": True, "value": provider.client_id},
            nonce={"essential": True, "value": flow["nonce"]},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(answer["id_token"], keys, ALGORITHMS).claims
            rules.validate(claims)
        except (JoseError, KeyError, ValueError) as error:
            raise _rejected(f"its answer is not valid: {error}") from error
        return dict(claims)


def _account_of(conn: Connection, claims: dict[str, Any], signup: bool) -> Account:
    """The account of an identity; a new one takes the user's name at the provider. Raises PageError."""
    identity = f"{claims['iss']}|{claims['sub']}"
    try:
        return accounts.by_identity(conn, identity)
    except NotFound:
        if not signup:
            raise PageError("You do not have an account.", hint="Ask an admin for one.", status=403) from None
    name = str(claims.get("email") or claims.get("preferred_username") or claims["sub"])[:200]
    try:
        account = accounts.create(conn, name, "member", None, now_ms())
    except Conflict as error:
        raise PageError(f"The name '{name}' is taken by another account.", hint="Ask an admin.", status=409) from error
    accounts.set_identity(conn, account.id, identity)
    return account


def _callback_url(request: PageRequest) -> str:
    return f"{request.base_url}{CALLBACK}"


def _challenge(verifier: str) -> str:
    """The code challenge of a verifier (RFC 7636, S256)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _rejected(why: str) -> PageError:
    """Logs the reason; the user can only try again."""
    log.warning("the identity provider's response was rejected: %s", why, extra={"action": "oidc_refused"})
    return PageError("Login with your organization failed. Try again, or contact an admin.", status=403)


async def _json(method: str, url: str, **more: Any) -> dict[str, Any]:
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.request(method, url, **more) as answer,
        ):
            found = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise SetupFailed(f"The identity provider cannot be reached: {error}.") from error
    if answer.status != 200 or not isinstance(found, dict):
        raise _rejected(f"it answered {answer.status} to {method} {url}")
    return found
