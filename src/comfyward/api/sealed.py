"""The seal of the editor's origin: no cookie or key counts there, and its answers tell browsers how little may run."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOT_HEARD = (b"cookie", b"authorization", b"x-api-key")
NOT_SAID = (
    "Set-Cookie",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Access-Control-Expose-Headers",
    "X-Frame-Options",  # frame-ancestors names the one origin that may
)


def policy(page_origin: str = "'none'", scripts: Sequence[str] = (), sandbox: str | None = None) -> str:
    """The Content-Security-Policy of the editor: code and requests of this origin alone, frames of one page alone.

    `scripts` are the hashes of those in the page itself. The editor needs styles in its page, and workers and pictures
    that it makes itself.
    """
    parts = [
        "default-src 'none'",
        " ".join(("script-src 'self' 'wasm-unsafe-eval'", *scripts)),
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "manifest-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        f"frame-ancestors {page_origin}",
    ]
    return "; ".join([*parts, f"sandbox {sandbox}"] if sandbox else parts)


HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # addresses have tickets
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-DNS-Prefetch-Control": "off",
}


NO_SERVICE_WORKER: ASGIApp = Response("There are no service workers here.", 403, media_type="text/plain")


class Sealed:
    """Hides cookies and keys from an application, and adds these headers to all that it answers.

    What a browser asks for to run it as a service worker is refused, and not in its cache either: it would outlive the
    page of whoever brings it, and answer in the server's place.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})  # one for both: servers read it too
        heard = {**scope, "headers": [each for each in scope["headers"] if each[0] not in NOT_HEARD]}

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                _seal(MutableHeaders(scope=message))
            await send(message)

        await (NO_SERVICE_WORKER if _is_service_worker(heard) else self._app)(heard, receive, sealed)


def _is_service_worker(scope: Scope) -> bool:
    """Browsers say so (Service Workers, 5.2), and scripts cannot keep them from it."""
    return any(name == b"service-worker" for name, _ in scope["headers"])


def _seal(headers: MutableHeaders) -> None:
    for name in NOT_SAID:
        del headers[name]
    headers.update(HEADERS)
    headers.setdefault("Content-Security-Policy", policy())
    headers.add_vary_header("Service-Worker")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
