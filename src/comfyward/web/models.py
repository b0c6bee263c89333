"""Files and models of an account: what is there, where it is used, uploads and imports, deletion."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from comfyward.runs.files import parse_import, parse_path
from comfyward.store import files, imports
from comfyward.web.visit import Pages, Visit, text_of

KINDS = ("all", "input", "models")
# Folders that ComfyUI itself has; custom nodes bring more, and any name is taken.
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


def routes(pages: Pages) -> list[Route]:
    return [
        pages.get("/files", show),
        pages.get("/files/imports", show_imports),
        pages.post("/files/import", begin_import),
        pages.post("/files/imports/{import_id}/again", import_again),
        pages.post("/files/imports/{import_id}/delete", forget_import),
        pages.post("/files/delete", delete),
    ]


async def show(visit: Visit) -> Response:
    values = await _values(visit)
    if visit.is_partial:
        return visit.page("files.part.html", **values)
    return visit.page("files.html", **values, **await _import_values(visit), **_asked_for(visit), folders=FOLDERS)


def _asked_for(visit: Visit) -> dict[str, Any]:
    """What the address fills in: a page that misses a file leads here."""
    return {
        "into": visit.asked("into", "/input"),
        "upload_name": visit.asked("as"),
        "wanted": {name: visit.asked(name) for name in ("url", "folder", "name")},
    }


async def show_imports(visit: Visit) -> Response:
    """Asked again every second while something comes in; the list of files comes anew once it is there."""
    values = await _import_values(visit)
    answered = visit.page("imports.part.html", **values)
    answered.headers["HX-Trigger"] = "files-changed"
    return answered


async def begin_import(visit: Visit) -> Response:
    form = await visit.form()
    folder, url = text_of(form, "folder", 200), text_of(form, "url", 8000)
    name = text_of(form, "name", 255) or url.partition("?")[0].rpartition("/")[2]
    path, source = parse_import(f"/models/{folder}/{name}", {"url": url})
    await visit.context.imports.add(visit.account.id, path, source)
    return visit.page("imports.part.html", **await _import_values(visit))


async def import_again(visit: Visit) -> Response:
    await visit.context.db.write(imports.again, visit.account.id, visit["import_id"])
    visit.context.imports.changed()
    return visit.page("imports.part.html", **await _import_values(visit))


async def forget_import(visit: Visit) -> Response:
    await visit.context.db.write(imports.remove, visit.account.id, visit["import_id"])
    visit.context.imports.changed()
    return visit.page("imports.part.html", **await _import_values(visit))


async def delete(visit: Visit) -> Response:
    path = parse_path((await visit.form()).get("path"))  # as it is: a name may end with a space
    await visit.context.db.write(files.remove, visit.account.id, path)
    return visit.page("files.part.html", **await _values(visit))


async def _values(visit: Visit) -> dict[str, Any]:
    db, account, words = visit.context.db, visit.account, visit.asked("q").lower().split()
    kind = visit.asked("kind", "all") if visit.asked("kind", "all") in KINDS else "all"
    found = await db.read(files.find, account.id, None if kind == "all" else f"/{kind}/")
    shown = [file for file in found if all(word in file.path.lower() for word in words)]
    brought = await db.read(files.links, account.id)
    return {
        "files": shown,
        "uses": await db.read(files.uses, account.id, [file.digest for file in shown]),
        "brought": {path: source for path, source in sorted(brought.items()) if kind == "all" or kind in path},
        "total": sum(file.size for file in shown),
        "kind": kind,
        "q": visit.asked("q"),
    }


async def _import_values(visit: Visit) -> dict[str, Any]:
    found = await visit.context.db.read(imports.find, visit.account.id)
    return {
        "imports": found,
        "is_importing": any(each.state == "waiting" for each in found),
    }
