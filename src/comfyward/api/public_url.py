"""The address by which clients reach this server."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

API_PREFIX = "/api/v1"


@dataclass(frozen=True)
class PublicUrl:
    """The configured address, else the one that a client used."""

    configured: str | None

    def of(self, request: Request) -> str:
        """Without a slash at the end."""
        return (self.configured or f"{request.url.scheme}://{request.url.netloc}").rstrip("/")
