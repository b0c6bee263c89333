"""The website's scripts, styles and icons, in memory. Their URLs contain a digest of their content."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

STATIC = Path(__file__).parent / "static"
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    content: bytes
    packed: bytes
    content_type: str
    digest: str


class Assets:
    """Reads all files below static/ once."""

    def __init__(self) -> None:
        files = (path for path in STATIC.rglob("*") if path.is_file() and path.suffix in (".js", ".css", ".svg"))
        self._assets = {path.relative_to(STATIC).as_posix(): _asset(path) for path in files}

    def url(self, name: str) -> str:
        """The URL of a file, which browsers cache until the file changes."""
        return f"/static/{self._assets[name].digest}/{name}"

    def routes(self) -> list[Route]:
        return [Route("/static/{digest}/{name:path}", self.serve, methods=["GET"])]

    async def serve(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        is_current = request.path_params["digest"] == asset.digest
        headers = {
            "Cache-Control": FOREVER if is_current else "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Accept-Encoding",
        }
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(asset.packed, headers=headers, media_type=asset.content_type)
        return Response(asset.content, headers=headers, media_type=asset.content_type)


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(content, gzip.compress(content, 9), content_type, hashlib.sha256(content).hexdigest()[:12])
