"""The files and models of an account: list, uploads, imports by URL, deletion."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.dispatch.imports import Imports
from comfyward.dispatch.site_files import SiteFiles
from comfyward.paths import model_path
from comfyward.runs.files import parse_import, parse_path
from comfyward.store import blobs, files, imports
from comfyward.store.db import Database
from comfyward.store.files import StoredFile
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, text_of

MOST_SHOWN = 1000
KINDS = ("all", "input", "models")
# ComfyUI's own folders; custom nodes add more, and any name is accepted.
FOLDERS = (
    "checkpoints",
    "clip_vision",
    "controlnet",
    "diffusion_models",
    "embeddings",
    "hypernetworks",
    "loras",
    "style_models",
    "text_encoders",
    "upscale_models",
    "vae",
)


class FilesAndModels:
    def __init__(self, db: Database, imports: Imports, site_files: SiteFiles) -> None:
        self._db, self._imports, self._site_files = db, imports, site_files

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/files", self.show, "Files and models"),
            Page("GET", "/files/imports", self.show_imports, "Imports and their progress"),
            Page("POST", "/files/import", self.begin_import, "Import a model by URL"),
            Page("POST", "/files/imports/{import_id}/again", self.retry_import, "Retry a failed import"),
            Page("POST", "/files/imports/{import_id}/delete", self.remove_import, "Stop or dismiss an import"),
            Page("POST", "/files/delete", self.delete, "Delete a file"),
        ]

    async def show(self, request: PageRequest) -> Response:
        values = await self._files(request)
        if request.is_partial:
            return request.render("files.part.html", **values)
        values |= await self._import_list(request)
        return request.render("files.html", **values, **_prefilled(request), folders=FOLDERS)

    async def show_imports(self, request: PageRequest) -> Response:
        """Requested every second during an import; reloads the list of files once it has finished."""
        response = request.render("imports.part.html", **await self._import_list(request))
        response.headers["HX-Trigger"] = "files-changed"
        return response

    async def begin_import(self, request: PageRequest) -> Response:
        form = await request.form()
        folder, url = text_of(form, "folder", 200), text_of(form, "url", 8000)
        name = text_of(form, "name", 255) or await self._site_files.name_of(request.account.id, url)
        path, source = parse_import(model_path(f"{folder}/{name}"), {"url": url})
        await self._imports.add(request.account.id, path, source)
        return request.render("imports.part.html", **await self._import_list(request))

    async def retry_import(self, request: PageRequest) -> Response:
        await self._db.write(imports.again, request.account.id, request["import_id"])
        self._imports.changed()
        return request.render("imports.part.html", **await self._import_list(request))

    async def remove_import(self, request: PageRequest) -> Response:
        await self._db.write(imports.remove, request.account.id, request["import_id"])
        self._imports.changed()
        return request.render("imports.part.html", **await self._import_list(request))

    async def delete(self, request: PageRequest) -> Response:
        path = parse_path((await request.form()).get("path"))  # not stripped: a name may end with a space
        await self._db.write(files.remove, request.account.id, path)
        return request.render("files.part.html", **await self._files(request))

    async def _files(self, request: PageRequest) -> dict[str, Any]:
        account_id, words = request.account.id, request.query("q")[:200].lower().split()
        kind = request.query("kind", "all") if request.query("kind", "all") in KINDS else "all"
        found = await self._db.read(files.find, account_id, None if kind == "all" else f"/{kind}/")
        links = await self._db.read(files.links, account_id)

        def matches(path: str) -> bool:
            return (kind == "all" or path.startswith(f"/{kind}/")) and all(word in path.lower() for word in words)

        def chosen() -> tuple[list[StoredFile], list[str]]:
            return [file for file in found if matches(file.path)], sorted(filter(matches, links))

        # Of so many files that it takes long, it is found beside the event loop which ones are shown.
        matching, linked = await HEAVY.run(account_id, files.LISTED_BYTES * (len(found) + len(links)), chosen)
        shown = matching[:MOST_SHOWN]
        return {
            "files": shown,
            "uses": await self._db.read(blobs.uses, account_id, [file.digest for file in shown]),
            "links": {path: links[path] for path in linked[:MOST_SHOWN]},
            "count": len(matching),
            "link_count": len(linked),
            "total": sum(file.size for file in matching),
            "kind": kind,
            "q": request.query("q"),
        }

    async def _import_list(self, request: PageRequest) -> dict[str, Any]:
        found = await self._db.read(imports.find, request.account.id)
        return {"imports": found, "is_importing": any(each.state == "waiting" for each in found)}


def _prefilled(request: PageRequest) -> dict[str, Any]:
    """Values of the forms: links to this page from a missing file fill them in."""
    return {
        "into": request.query("into", "/input"),
        "upload_name": request.query("as"),
        "wanted": {name: request.query(name) for name in ("url", "folder", "name")},
    }
