"""Routes of pages: authenticates browsers, performs every form once, and renders errors as pages."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import SplitResult, quote

from jinja2 import Environment
from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from comfyward.api.auth import SAFE_METHODS, Auth, refuse_foreign_origin
from comfyward.api.errors import CLIENT_CLOSED_REQUEST
from comfyward.api.header_addresses import parts_of
from comfyward.api.public_url import PublicUrl
from comfyward.errors import ComfywardError, InvalidRequest
from comfyward.files.part import full_disk, is_full
from comfyward.web.intents import Intents, intent_of
from comfyward.web.page import Access, Page
from comfyward.web.page_request import VISITORS_FORM_LIMIT_BYTES, PageRequest
from comfyward.web.problems import PageError, advices

log = logging.getLogger(__name__)


class Pages:
    """Serves pages to browsers, with sessions and templates."""

    def __init__(self, auth: Auth, templates: Environment, public_url: PublicUrl) -> None:
        self._auth, self._templates, self._public_url = auth, templates, public_url
        self._intents = Intents()

    def routes(self, table: Iterable[Page]) -> list[Route]:
        """The routes of a table, in its order."""
        return [Route(page.path, functools.partial(self._respond, page), methods=[page.method]) for page in table]

    async def problem(self, http: Request, error: ComfywardError) -> Response:
        """The page for an error of a request that no page answers."""
        try:
            caller = await self._auth.by_session(http)
        except ComfywardError:
            caller = None
        return _problem(PageRequest(http, self._templates, self._public_url, caller), error)

    async def _respond(self, page: Page, http: Request) -> Response:
        request = PageRequest(http, self._templates, self._public_url, form_limit_bytes=_form_limit(page))
        try:
            if http.method not in SAFE_METHODS:
                refuse_foreign_origin(http)
            request = replace(request, session_caller=await self._auth.by_session(http))
            if request.session_caller is None and page.access is not Access.EVERYONE:
                return _login_first(request)
            if page.access is Access.ADMINS and not request.account.is_admin:
                raise PageError("Only admins can open this page.", status=403)
            return await (self._once(page, request) if page.method == "POST" else page.handler(request))
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except ComfywardError as error:
            return _problem(request, error)
        except HTTPException as error:
            return _problem(request, InvalidRequest(str(error.detail)))
        except OSError as error:
            if is_full(error):
                return _problem(request, full_disk(error))
            log.exception("a page failed", extra={"action": "request_failed"})
            return _problem(request, ComfywardError("Internal error."))
        except Exception:
            log.exception("a page failed", extra={"action": "request_failed"})
            return _problem(request, ComfywardError("Internal error."))

    async def _once(self, page: Page, request: PageRequest) -> Response:
        """Performs what one press of a button asks for, once."""
        if not request.has_form:
            return await page.handler(request)
        owner = request.account.id if request.session_caller else ""
        intent = intent_of(await request.form(), owner, str(request.http.url))
        if intent is None:
            return await page.handler(request)
        return await self._intents.once(intent, lambda: page.handler(replace(request, intent=intent)))


def _problem(request: PageRequest, error: ComfywardError) -> Response:
    """An error as a page, or, for htmx, as the page's problem section."""
    if error.status >= 500:
        log.error("%s: %s", error.code, error.message, extra={"action": "request_failed"})
    is_admin = request.session_caller is not None and request.session_caller.account.is_admin
    found = advices(error, request.http.path_params.get("workflow_id"), is_admin=is_admin)
    if request.is_partial:
        response = request.render("problem.part.html", error.status, advices=found)
        response.headers["HX-Retarget"], response.headers["HX-Reswap"] = "#problems", "innerHTML"
        return response
    return request.render("problem.html", error.status, code=error.status, advices=found, is_of_form=request.has_form)


def _form_limit(page: Page) -> int:
    """In bytes. Whoever has no account sends names and passwords only."""
    is_for_visitors = page.access is Access.EVERYONE
    return min(page.form_limit_bytes, VISITORS_FORM_LIMIT_BYTES) if is_for_visitors else page.form_limit_bytes


def _login_first(request: PageRequest) -> Response:
    """A redirect to the login, which leads back to the page that was open."""
    http = request.http
    if http.method == "GET" and not request.is_partial:
        at: URL | SplitResult = http.url
    else:
        at = parts_of(http.headers.get("hx-current-url") or http.headers.get("referer"))
    back = at.path + (f"?{at.query}" if at.query else "")
    return request.redirect(f"/login?next={quote(back)}" if back else "/login")
