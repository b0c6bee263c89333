"""A visit to a page: who comes, what they ask, and how they are answered."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import URL, FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from comfyward.accounts.account import Account, Caller
from comfyward.api.auth import SAFE_METHODS, refuse_foreign_origin
from comfyward.api.context import Context
from comfyward.api.native.frontend import Frontends
from comfyward.api.whole_numbers import whole_number
from comfyward.errors import ComfywardError, InvalidRequest
from comfyward.ids import new_id
from comfyward.web import words
from comfyward.web.assets import Assets
from comfyward.web.failures import advices_on
from comfyward.web.intents import Intents, intent_of
from comfyward.web.problems import SENTENCES, PageError, advices, field_id, noun_of

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
SMALL_BYTES = 1000
FORM_LIMIT_BYTES = 4 << 20
# Own files only; the editor below a workflow's /comfy/ is a page of its own with other headers.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept-Encoding, HX-Request",
}


class Site:
    """What all pages share."""

    def __init__(self, context: Context, frontends: Frontends, assets: Assets) -> None:
        self.context, self.frontends, self.assets = context, frontends, assets
        self.intents = Intents()
        self.templates = _templates(context, assets)


@dataclass(frozen=True)
class Visit:
    """One request of a browser. `caller` is None for whoever is not logged in.

    `intent` names what a form asks for: a request that comes again asks by the same name.
    """

    site: Site
    request: Request
    caller: Caller | None
    form_limit_bytes: int = FORM_LIMIT_BYTES
    intent: str | None = None

    @property
    def context(self) -> Context:
        return self.site.context

    @property
    def who(self) -> Caller:
        """Who is logged in: on every page but those for strangers somebody is."""
        assert self.caller is not None
        return self.caller

    @property
    def account(self) -> Account:
        return self.who.account

    def admin(self) -> Account:
        """Raises PageError."""
        if not self.account.is_admin:
            raise PageError("This page is for admins.", status=403)
        return self.account

    def __getitem__(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def asked(self, name: str, default: str = "") -> str:
        """A value of the address's query."""
        return self.request.query_params.get(name, default)

    @property
    def is_partial(self) -> bool:
        """Whether only a part of the page is wanted (htmx)."""
        return "hx-request" in self.request.headers and "hx-boosted" not in self.request.headers

    @property
    def has_form(self) -> bool:
        content_type = self.request.headers.get("content-type", "")
        return content_type.startswith(("application/x-www-form-urlencoded", "multipart/form-data"))

    async def form(self) -> FormData:
        """The fields that were sent. Raises PageError."""
        if whole_number(self.request.headers.get("content-length", ""), most=self.form_limit_bytes) is None:
            raise PageError(f"That is too large: at most {words.size(self.form_limit_bytes)} fit.", status=413)
        return await self.request.form(max_files=1, max_fields=2000)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A rendered template."""
        rendered = self.site.templates.get_template(template).render(
            visit=self,
            me=self.caller.account if self.caller else None,
            path=self.request.url.path,
            **values,
        )
        body, headers = rendered.encode(), dict(HEADERS)
        if len(body) > SMALL_BYTES and "gzip" in self.request.headers.get("accept-encoding", ""):
            body, headers["Content-Encoding"] = gzip.compress(body, 5), "gzip"
        return Response(body, status, headers, media_type="text/html")

    def to(self, path: str) -> Response:
        """Sends the browser on to another page of this site; htmx too."""
        if "hx-request" in self.request.headers:
            return Response(headers={**HEADERS, "HX-Redirect": path})
        return RedirectResponse(path, 303, headers=HEADERS)


Page = Callable[[Visit], Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class Pages:
    """Makes routes of pages: whoever they are for is let in, and whatever goes wrong becomes a page too.

    Strangers, who are not logged in, are let in where it says so.
    """

    site: Site

    def get(self, path: str, page: Page, *, for_strangers: bool = False) -> Route:
        return Route(path, self._endpoint(page, for_strangers), methods=["GET"])

    def post(
        self, path: str, page: Page, *, for_strangers: bool = False, form_limit_bytes: int = FORM_LIMIT_BYTES
    ) -> Route:
        """What one press of a button asks for is done once."""

        async def once(visit: Visit) -> Response:
            if not visit.has_form:
                return await page(visit)
            owner = visit.account.id if visit.caller else ""
            intent = intent_of(await visit.form(), owner, str(visit.request.url))
            if intent is None:
                return await page(visit)
            return await self.site.intents.once(intent, lambda: page(replace(visit, intent=intent)))

        return Route(path, self._endpoint(once, for_strangers, form_limit_bytes), methods=["POST"])

    async def problem(self, request: Request, error: ComfywardError) -> Response:
        """What is wrong with a request that no page is for."""
        try:
            caller = await self.site.context.auth.by_session(request)
        except ComfywardError:
            caller = None
        return problem(Visit(self.site, request, caller), error)

    def _endpoint(
        self, page: Page, for_strangers: bool, form_limit_bytes: int = FORM_LIMIT_BYTES
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            visit = Visit(self.site, request, None, form_limit_bytes)
            try:
                if request.method not in SAFE_METHODS:
                    refuse_foreign_origin(request)
                visit = replace(visit, caller=await self.site.context.auth.by_session(request))
                if visit.caller is None and not for_strangers:
                    return _login_first(visit)
                return await page(visit)
            except ClientDisconnect:
                return Response(status_code=499)
            except ComfywardError as error:
                return problem(visit, error)
            except HTTPException as error:
                return problem(visit, InvalidRequest(str(error.detail)))
            except Exception:
                log.exception("a page failed", extra={"action": "request_failed"})
                return problem(visit, ComfywardError("A page failed."))

        return endpoint


def problem(visit: Visit, error: ComfywardError) -> Response:
    """An error as a page, or as the part of a page where its answer was to go."""
    if error.status >= 500:
        log.error("%s: %s", error.code, error.message, extra={"action": "request_failed"})
    found = advices(error, visit.request.path_params.get("workflow_id"))
    if visit.is_partial:
        answered = visit.page("problem.part.html", error.status, advices=found)
        answered.headers["HX-Retarget"], answered.headers["HX-Reswap"] = "#problems", "innerHTML"
        return answered
    return visit.page("problem.html", error.status, code=error.status, advices=found)


def _login_first(visit: Visit) -> Response:
    """Afterwards whoever logs in is back where they were: on the page, also where a part of it or a form was sent."""
    request = visit.request
    if request.method == "GET" and not visit.is_partial:
        at: URL | SplitResult = request.url
    else:
        at = urlsplit(request.headers.get("hx-current-url") or request.headers.get("referer") or "")
    back = at.path + (f"?{at.query}" if at.query else "")
    return visit.to(f"/login?next={quote(back)}" if back else "/login")


def _templates(context: Context, assets: Assets) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(words.FILTERS)
    environment.globals.update(
        asset=assets.url,
        advices_on=advices_on,
        field_id=field_id,
        new_intent=new_id,
        noun_of=noun_of,
        sentences=SENTENCES,
        has_oidc=context.settings.oidc_issuer is not None,
        words=words,
    )
    return environment


def text_of(form: FormData, name: str, longest: int = 2000, label: str | None = None) -> str:
    """A text field, without space around it. Raises PageError, which calls the field by its label."""
    value = form.get(name, "")
    if not isinstance(value, str) or len(value) > longest:
        raise PageError(f"{(label or name).capitalize()} is too long: at most {longest:,} characters fit.")
    return value.strip()
