"""A browser's request of a page, and the responses that pages give."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from comfyward.accounts.account import Account, Caller
from comfyward.api.public_url import PublicUrl
from comfyward.api.whole_numbers import whole_number
from comfyward.web.problems import PageError
from comfyward.wording import size

SMALL_BYTES = 1000
FORM_LIMIT_BYTES = 4 << 20
VISITORS_FORM_LIMIT_BYTES = 64 << 10
MAX_FIELDS = 2000


def policy(frames: str = "'self'") -> str:
    """The Content-Security-Policy of a page that shows frames of this origin: only the site's own files.

    The editor below a workflow's /comfy/ is a page of its own with other headers.
    """
    parts = (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'" if frames == "'self'" else f"connect-src 'self' {frames}",
        f"frame-src {frames}",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
    return "; ".join(parts)


HEADERS = {
    "Content-Security-Policy": policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept-Encoding, HX-Request",
}


@dataclass(frozen=True)
class PageRequest:
    """A request from a browser. `session_caller` is None for a visitor who is not logged in.

    `intent` identifies what a form asks for: a repeated request has the same one (see `intents`).
    """

    http: Request
    templates: Environment
    public_url: PublicUrl
    session_caller: Caller | None = None
    form_limit_bytes: int = FORM_LIMIT_BYTES
    intent: str | None = None

    @property
    def caller(self) -> Caller:
        """The logged-in user; only pages for everyone can be requested without one."""
        assert self.session_caller is not None
        return self.session_caller

    @property
    def account(self) -> Account:
        return self.caller.account

    def __getitem__(self, name: str) -> str:
        """A parameter of the path."""
        return str(self.http.path_params[name])

    def query(self, name: str, default: str = "") -> str:
        """A parameter of the query string."""
        return self.http.query_params.get(name, default)

    @property
    def base_url(self) -> str:
        """The URL of this server as the browser reaches it, without a trailing slash."""
        return self.public_url.of(self.http)

    @property
    def origin(self) -> str:
        """The origin of the page that the browser shows."""
        return self.public_url.origin_of(self.http)

    @property
    def is_partial(self) -> bool:
        """True if htmx asks for a part of the page."""
        return "hx-request" in self.http.headers and "hx-boosted" not in self.http.headers

    @property
    def has_form(self) -> bool:
        content_type = self.http.headers.get("content-type", "")
        return content_type.startswith(("application/x-www-form-urlencoded", "multipart/form-data"))

    @property
    def _is_urlencoded(self) -> bool:
        return not self.http.headers.get("content-type", "").startswith("multipart/form-data")

    async def form(self) -> FormData:
        """The submitted fields. Raises PageError if the form is too large."""
        if whole_number(self.http.headers.get("content-length", ""), most=self.form_limit_bytes) is None:
            raise PageError(f"This is too large. The limit is {size(self.form_limit_bytes)}.", status=413)
        if self._is_urlencoded and (await self.http.body()).count(b"&") >= MAX_FIELDS:  # read again by its parser
            raise PageError(f"A form may have {MAX_FIELDS:,} fields at most.", status=413)
        return await self.http.form(max_files=1, max_fields=MAX_FIELDS)

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A template as a response, compressed if the browser accepts that."""
        rendered = self.templates.get_template(template).render(
            me=self.session_caller.account if self.session_caller else None,
            path=self.http.url.path,
            origin=self.origin,
            **values,
        )
        body, headers = rendered.encode(), dict(HEADERS)
        if len(body) > SMALL_BYTES and "gzip" in self.http.headers.get("accept-encoding", ""):
            body, headers["Content-Encoding"] = gzip.compress(body, 5), "gzip"
        return Response(body, status, headers, media_type="text/html")

    def redirect(self, url: str) -> Response:
        """A redirect with GET, in the form that the browser or htmx follows."""
        if "hx-request" in self.http.headers:
            return Response(headers={**HEADERS, "HX-Redirect": url})
        return RedirectResponse(url, 303, headers=HEADERS)


def text_of(form: FormData, name: str, longest: int = 2000, label: str | None = None) -> str:
    """A text field, stripped of surrounding whitespace. Raises PageError naming the field by its label."""
    value = form.get(name, "")
    if not isinstance(value, str) or len(value) > longest:
        raise PageError(f"{(label or name).capitalize()} must be at most {longest:,} characters.")
    return value.strip()
