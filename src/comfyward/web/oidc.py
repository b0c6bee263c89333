"""Login by an identity provider (OpenID Connect, authorization code with PKCE). Needs `pip install comfyward[oidc]`.

A user of the provider whom nobody here knows gets an account of their own (COMFYWARD_OIDC_SIGNUP), else is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import secrets
from typing import Any
from urllib.parse import urlencode

import aiohttp
from sqlalchemy import Connection
from starlette.responses import Response
from starlette.routing import Route

from comfyward.accounts.account import Account
from comfyward.errors import Conflict, NotFound, SetupFailed
from comfyward.store import accounts
from comfyward.store.db import now_ms
from comfyward.web.entry import HOME, let_in
from comfyward.web.problems import PageError
from comfyward.web.visit import Pages, Visit

try:
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet
except ImportError:  # the extra is not installed: the routes say so
    KeySet = None  # type: ignore[assignment,misc]

log = logging.getLogger(__name__)

COOKIE = "comfyward_oidc"
COOKIE_LASTS_S = 600
TIMEOUT = aiohttp.ClientTimeout(total=15)
ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "EdDSA"]


def routes(pages: Pages) -> list[Route]:
    return [
        pages.get("/login/oidc", begin, for_strangers=True),
        pages.get("/login/oidc/back", back, for_strangers=True),
    ]


async def begin(visit: Visit) -> Response:
    """Sends the browser to the provider; what its answer must match is kept in a cookie of this browser."""
    settings, found = visit.context.settings, await _provider(visit)
    kept = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
    query = {
        "response_type": "code",
        "client_id": settings.oidc_client_id or "",
        "redirect_uri": _back_url(visit),
        "scope": "openid profile email",
        "state": kept["state"],
        "nonce": kept["nonce"],
        "code_challenge": _challenge(kept["verifier"]),
        "code_challenge_method": "S256",
    }
    endpoint = str(found["authorization_endpoint"])
    answered = visit.to(f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}")
    secure = _back_url(visit).startswith("https://")
    answered.set_cookie(COOKIE, json.dumps(kept), COOKIE_LASTS_S, httponly=True, samesite="lax", secure=secure)
    return answered


async def back(visit: Visit) -> Response:
    """The provider's answer becomes a session. Raises PageError for one that is not to be trusted."""
    try:
        kept = json.loads(visit.request.cookies.get(COOKIE, ""))
        is_ours = secrets.compare_digest(str(kept["state"]), visit.asked("state"))
    except (ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours or not visit.asked("code"):
        hint = visit.asked("error_description") or "Begin again at the login page."
        raise PageError("Your organization did not let you in.", hint=hint[:300], status=403)
    claims = await _claims(visit, kept)
    account = await visit.context.db.write(_account_of, claims, visit.context.settings.oidc_signup)
    answered = await let_in(visit, account, HOME)
    answered.delete_cookie(COOKIE)
    return answered


async def _provider(visit: Visit) -> dict[str, Any]:
    issuer = visit.context.settings.oidc_issuer
    if issuer is None:
        raise PageError("Login with your organization is not set up here.", status=404)
    if KeySet is None:
        raise SetupFailed("Login by OpenID Connect is not installed.", hint="pip install 'comfyward[oidc]'")
    return await _json("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")


async def _claims(visit: Visit, kept: dict[str, str]) -> dict[str, Any]:
    """What the provider says of the user, its signature, audience, time and nonce checked. Raises PageError."""
    settings, found = visit.context.settings, await _provider(visit)
    form = {
        "grant_type": "authorization_code",
        "code": visit.asked("code"),
        "redirect_uri": _back_url(visit),
        "client_id": settings.oidc_client_id or "",
        "client_secret": settings.oidc_client_secret or "",
        "code_verifier": kept["verifier"],
    }
    answer = await _json("POST", found["token_endpoint"], data=form)
    keys = KeySet.import_key_set(await _json("GET", found["jwks_uri"]))  # type: ignore[arg-type]
    rules = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": found["issuer"]},
        aud={"essential": True, "value": settings.oidc_client_id or ""},
        nonce={"essential": True, "value": kept["nonce"]},
        sub={"essential": True},
        exp={"essential": True},
    )
    try:
        claims = jwt.decode(answer["id_token"], keys, ALGORITHMS).claims
        rules.validate(claims)
    except (JoseError, KeyError, ValueError) as error:
        raise _distrusted(f"its answer is not valid: {error}") from error
    return dict(claims)


def _account_of(conn: Connection, claims: dict[str, Any], signup: bool) -> Account:
    """The account of an identity; a new one takes the user's name at the provider. Raises PageError."""
    identity = f"{claims['iss']}|{claims['sub']}"
    try:
        return accounts.by_identity(conn, identity)
    except NotFound:
        if not signup:
            raise PageError("You have no account here.", hint="Ask an admin for one.", status=403) from None
    name = str(claims.get("email") or claims.get("preferred_username") or claims["sub"])[:200]
    try:
        made = accounts.create(conn, name, "member", None, now_ms())
    except Conflict as error:
        raise PageError(
            f"There is an account named '{name}' already, which is not yours.", hint="Ask an admin.", status=409
        ) from error
    accounts.set_identity(conn, made.id, identity)
    return made


def _back_url(visit: Visit) -> str:
    return f"{visit.context.base_url(visit.request)}/login/oidc/back"


def _challenge(verifier: str) -> str:
    """What the provider keeps of the verifier (RFC 7636, S256)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _distrusted(why: str) -> PageError:
    """The reasons are for the log: whoever logs in can only try again."""
    log.warning("the identity provider is not believed: %s", why, extra={"action": "oidc_refused"})
    return PageError("Login with your organization did not work. Try again, or ask an admin.", status=403)


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
        raise _distrusted(f"it answered {answer.status} to {method} {url}")
    return found
