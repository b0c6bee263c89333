"""The address by which clients reach this server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

API_PREFIX = "/api/v1"


@dataclass(frozen=True)
class PublicUrl:
    """The configured address, else the one that a client used."""

    configured: str | None

    def of(self, request: Request) -> str:
        """Without a slash at the end."""
        return (self.configured or _used(request)).rstrip("/")

    def origin_of(self, request: Request) -> str:
        """The origin of the page that a browser asks for."""
        configured = urlsplit(self.configured or "")
        if configured.netloc == request.url.netloc:
            return f"{configured.scheme}://{configured.netloc}"  # behind a proxy the server sees no https
        return _used(request)


def _used(request: Request) -> str:
    """The scheme and host of the request's own URL."""
    return f"{request.url.scheme}://{request.url.netloc}"
