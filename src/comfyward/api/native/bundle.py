"""The files of one of ComfyUI's packages for browsers, under an address that names their content.

All workflows share that address, so a browser fetches each file once, compressed, and caches it forever.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import blake3
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from comfyward.api.endpoint import Endpoint

PREFIX = "/editor"
FOREVER = "public, max-age=31536000, immutable"
ENCODINGS = {"br": ".br", "gzip": ".gz"}  # best first, with the suffix of such a file
_OWN_ADDRESS = re.compile(r'\b(href|src)="(?:\./)?([^":?#]+)"')


@dataclass(frozen=True)
class _File:
    path: Path
    content_type: str
    forms: Mapping[str, Path]


class Bundle:
    """A folder that does not change while the server runs. Files that were asked for stay in memory, compressed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = _files(folder)
        self._read: dict[Path, bytes] = {}
        self.address = f"{PREFIX}/{_digest(self._files)}"

    def endpoint(self) -> Endpoint:
        return Endpoint("GET", f"{self.address}/{{name:path}}", self.serve, "A file of the editor")

    def has(self, name: str) -> bool:
        return name in self._files

    def page(self, name: str, head: str = "") -> str:
        """An HTML file that refers to the shared address, with `head` added to its head."""

        def shared(match: re.Match[str]) -> str:
            attribute, target = match.groups()
            return f'{attribute}="{self.address}/{target}"' if target in self._files else match[0]

        text = self._files[name].path.read_text()
        return _OWN_ADDRESS.sub(shared, text).replace("<head>", f"<head>{head}", 1)

    async def serve(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        if file is None:
            return Response("There is no such file.", 404)
        headers = {"Cache-Control": FOREVER, "X-Content-Type-Options": "nosniff", "Vary": "Accept-Encoding"}
        accepted = {each.split(";")[0].strip() for each in request.headers.get("accept-encoding", "").split(",")}
        form = next((form for form in file.forms if form in accepted), None)
        if form:
            headers["Content-Encoding"] = form
        content = await self._content(file.forms[form] if form else file.path)
        return Response(content, headers=headers, media_type=file.content_type)

    async def redirect(self, request: Request) -> Response:
        """Redirects to the shared address: the editor also asks for files beside its page."""
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)  # answered in ComfyUI's form: clients read JSON
        return RedirectResponse(f"{self.address}/{name}", 308, {"Cache-Control": "no-cache"})

    async def _content(self, path: Path) -> bytes:
        if path not in self._read:
            self._read[path] = await anyio.Path(path).read_bytes()
        return self._read[path]


def _files(folder: Path) -> dict[str, _File]:
    found = {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".map"}
    originals = [path for path in sorted(found) if path.suffix not in ENCODINGS.values()]
    return {path.relative_to(folder).as_posix(): _file(path, found) for path in originals}


def _file(path: Path, found: set[Path]) -> _File:
    forms = {form: path.with_name(path.name + suffix) for form, suffix in ENCODINGS.items()}
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if path.suffix in (".js", ".mjs"):
        content_type = "text/javascript"
    return _File(path, content_type, {form: packed for form, packed in forms.items() if packed in found})


def _digest(files: Mapping[str, _File]) -> str:
    hasher = blake3.blake3()
    for name, file in files.items():
        hasher.update(name.encode()).update(b"\0").update(file.path.read_bytes())
    return hasher.hexdigest()[:16]
