"""Workflows: the cards, a new one, one's page and settings, and what others have made public."""

from __future__ import annotations

import functools
import itertools
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from starlette.datastructures import UploadFile
from starlette.responses import Response
from starlette.routing import Route

from comfyward.api.whole_numbers import whole_number
from comfyward.errors import ComfywardError, InvalidGraph, NotFound
from comfyward.files.pictures import carried_graphs
from comfyward.ids import is_id, new_id
from comfyward.python_json import NOT_JSON, read_answer
from comfyward.store import files, workflows
from comfyward.store.db import now_ms
from comfyward.store.rows import text_of as json_text
from comfyward.store.workflows import Search
from comfyward.web import words
from comfyward.web.form import form_values, lacking
from comfyward.web.obstacle import obstacle_of
from comfyward.web.problems import Advice, PageError
from comfyward.web.runs import list_values
from comfyward.web.visit import Pages, Visit, text_of
from comfyward.workflows import starters
from comfyward.workflows.catalog import INPUT_FOLDER
from comfyward.workflows.copies import Cleaner
from comfyward.workflows.graph import is_shallow, parse_graph
from comfyward.workflows.starters import STARTERS, Starter
from comfyward.workflows.workflow import Workflow

PAGE = 24
MAX_TAGS = 20
SAMPLES = Path(starters.__file__).parent / "samples"
IMPORT_LIMIT_BYTES = 256 << 20
EXPORT = "Export it from ComfyUI anew, with File > Export."
MEDIA_SUFFIXES = (".png", ".webp", ".mp4", ".webm", ".mkv")


def routes(pages: Pages) -> list[Route]:
    return [
        pages.get("/workflows", cards),
        pages.get("/workflows/new", choose),
        pages.post("/workflows/new", create),
        pages.post("/workflows/import", bring, form_limit_bytes=IMPORT_LIMIT_BYTES),
        pages.get("/workflows/{workflow_id}", show),
        pages.get("/workflows/{workflow_id}/settings", settings),
        pages.post("/workflows/{workflow_id}/settings", change),
        pages.post("/workflows/{workflow_id}/duplicate", duplicate),
        pages.post("/workflows/{workflow_id}/delete", delete),
        pages.post("/workflows/{workflow_id}/restore", restore),
        pages.get("/explore", explore),
        pages.get("/explore/{workflow_id}", explore_one),
        pages.get("/explore/{workflow_id}/picture", picture),
        pages.post("/explore/{workflow_id}/use", use),
    ]


async def cards(visit: Visit) -> Response:
    db, account, search = visit.context.db, visit.account, _search(visit)
    found = await db.read(workflows.cards, account.id, search)
    values: dict[str, Any] = {"cards": found[:PAGE], "more": len(found) > PAGE, "search": search, "base": "/workflows"}
    if visit.is_partial:
        return visit.page("cards.part.html", **values)
    deleted = visit.asked("deleted") if is_id(visit.asked("deleted")) else None
    return visit.page("workflows.html", **values, tags=await db.read(workflows.tags, account.id), deleted=deleted)


async def choose(visit: Visit) -> Response:
    templates = _templates(visit, visit.asked("q"))
    values: dict[str, Any] = {"templates": templates, "has_templates": visit.site.frontends.templates is not None}
    if visit.is_partial:
        return visit.page("templates.part.html", templates=templates)
    return visit.page("new.html", **values, starters=STARTERS, needs=await _models_needed(visit), q=visit.asked("q"))


async def _models_needed(visit: Visit) -> dict[str, list[Advice]]:
    """What each starter's page would ask for first."""
    wanted = {key: json_text(starter.graph()) for key, starter in STARTERS.items() if starter.model}
    return {key: await lacking(visit, graph) for key, graph in wanted.items()}


async def create(visit: Visit) -> Response:
    form = await visit.form()
    kind, _, name = text_of(form, "from").partition(":")
    title = text_of(form, "name", 200)
    match kind:
        case "starter" if name in STARTERS:
            made = await _started(visit, STARTERS[name], title)
        case "template":
            made = _new(visit, title or name.replace("_", " ").capitalize(), editor_graph=_template(visit, name))
        case _:
            made = _new(visit, title or "Untitled")
    await visit.context.db.write(workflows.create, made)
    return visit.to(f"/workflows/{made.id}/edit" if kind != "starter" else f"/workflows/{made.id}")


async def _started(visit: Visit, starter: Starter, title: str) -> Workflow:
    """A workflow from a starter, whose sample becomes a file of the account unless it has one of that name."""
    if starter.sample is not None:
        path, db = f"/input/{starter.sample}", visit.context.db
        if not await db.read(files.at, visit.account.id, [path]):
            await visit.context.blobs.keep_file(SAMPLES / starter.sample, visit.account.id, path)
    form = [{"key": key, "label": label} for key, label in starter.form]
    return _new(
        visit,
        title or starter.title,
        graph=json_text(starter.graph()),
        description=starter.description,
        form=json_text(form),
    )


async def bring(visit: Visit) -> Response:
    """A file that holds a workflow: JSON in either form, or a picture or video that carries one."""
    upload = (await visit.form()).get("file")
    if not isinstance(upload, UploadFile) or not upload.filename:
        raise PageError(
            "There is no file.", hint="Drop a workflow that ComfyUI exported, or a PNG, WEBP or MP4 that it made."
        )
    name = Path(upload.filename)
    data = await upload.read()
    graphs = await _carried(name, data) if name.suffix.lower() in MEDIA_SUFFIXES else _parsed(data)
    made = _new(visit, name.stem.replace("_", " ")[:200] or "Imported", **graphs)
    await visit.context.db.write(workflows.create, made)
    return visit.to(f"/workflows/{made.id}")


async def show(visit: Visit) -> Response:
    workflow = await visit.context.db.lookup(workflows.get, visit.account.id, visit["workflow_id"])
    values = await list_values(visit, workflow.id)
    if visit.is_partial:
        return visit.page("runs.part.html", **values)
    parent = await _parent(visit, workflow)
    values |= await form_values(visit, workflow)
    values["obstacle"] = await obstacle_of(visit, workflow)
    return visit.page("workflow.html", **values, workflow=workflow, parent=parent, tab="run")


async def settings(visit: Visit) -> Response:
    workflow = await visit.context.db.lookup(workflows.get, visit.account.id, visit["workflow_id"])
    pools = await visit.context.inventory.pools()
    return visit.page("workflow_settings.html", workflow=workflow, pools=pools, tab="settings")


async def change(visit: Visit) -> Response:
    form = await visit.form()
    name = text_of(form, "name", 200)
    if not name:
        raise PageError("A workflow needs a name.")
    tags = [tag.strip() for tag in text_of(form, "tags").split(",") if tag.strip()]
    values = {
        "name": name,
        "description": text_of(form, "description", 20_000) or None,
        "tags": list(dict.fromkeys(tags))[:MAX_TAGS],
        "visibility": "PUBLIC" if text_of(form, "visibility") == "PUBLIC" else "PRIVATE",
        "accelerator": text_of(form, "accelerator", 60) or None,
    }
    workflow = await visit.context.db.write(workflows.change, visit.account.id, visit["workflow_id"], values, now_ms())
    return visit.to(f"/workflows/{workflow.id}")


async def duplicate(visit: Visit) -> Response:
    source = await visit.context.db.lookup(workflows.get, visit.account.id, visit["workflow_id"])
    return await _copy(visit, source, f"{source.name} (copy)"[:200])


async def delete(visit: Visit) -> Response:
    gone = await visit.context.db.write(workflows.remove, visit.account.id, visit["workflow_id"], now_ms())
    return visit.to(f"/workflows?deleted={gone.id}")


async def restore(visit: Visit) -> Response:
    back = await visit.context.db.write(workflows.restore, visit.account.id, visit["workflow_id"], now_ms())
    return visit.to(f"/workflows/{back.id}")


async def explore(visit: Visit) -> Response:
    search = _search(visit)
    found = await visit.context.db.read(workflows.public_cards, search)
    values: dict[str, Any] = {"cards": found[:PAGE], "more": len(found) > PAGE, "search": search, "base": "/explore"}
    return visit.page("cards.part.html" if visit.is_partial else "explore.html", **values)


async def explore_one(visit: Visit) -> Response:
    workflow = await visit.context.db.lookup(workflows.visible, visit.account.id, visit["workflow_id"])
    shared = await _shared(visit, workflow)
    graph = parse_graph(msgspec.json.decode(workflow.graph)) if workflow.graph else None
    needed = await lacking(visit, shared["graph"], shared["editor_graph"])
    return visit.page("public.html", workflow=workflow, classes=graph.classes() if graph else [], lacking=needed)


async def picture(visit: Visit) -> Response:
    """The newest result of a workflow that its owner shows."""
    workflow = await visit.context.db.lookup(workflows.visible, visit.account.id, visit["workflow_id"])
    output = words.cover(await visit.context.db.read(workflows.newest_result, workflow.id))
    if output is None:
        raise PageError("This workflow has no picture yet.", status=404)
    answered = await visit.context.contents.thumbnail(output["digest"])
    answered.headers["Cache-Control"] = "private, max-age=60"  # the next run has another one
    return answered


async def use(visit: Visit) -> Response:
    source = await visit.context.db.lookup(workflows.visible, visit.account.id, visit["workflow_id"])
    return await _copy(visit, source, source.name)


async def _copy(visit: Visit, source: Workflow, name: str) -> Response:
    more = {field: getattr(source, field) for field in ("description", "tags", "form", "accelerator")}
    made = _new(visit, name, **more, **await _shared(visit, source), parent_workflow_id=source.id)
    await visit.context.db.write(workflows.create, made)
    return visit.to(f"/workflows/{made.id}")


async def _shared(visit: Visit, source: Workflow) -> dict[str, str | None]:
    """Both graphs of a workflow as the visitor may have them: without the names of its owner's files, if it is
    somebody else's."""
    if source.account_id == visit.account.id:
        return {"graph": source.graph, "editor_graph": source.editor_graph}
    db = visit.context.db
    owners, own = [await db.read(files.usable_paths, who) for who in (source.account_id, visit.account.id)]
    catalog = await visit.context.inventory.catalog_lately()
    cleaner = Cleaner(catalog, owners.below(INPUT_FOLDER), own.below(INPUT_FOLDER))
    # The API's graph first: it tells which texts of the editor's name files.
    graph = source.graph and json_text(cleaner.graph(msgspec.json.decode(source.graph)))
    editors = msgspec.json.decode(source.editor_graph) if source.editor_graph else None
    kept = json_text(cleaner.editor_graph(editors)) if editors is not None and is_shallow(editors) else None
    return {"graph": graph, "editor_graph": kept}


async def _parent(visit: Visit, workflow: Workflow) -> Workflow | None:
    if workflow.parent_workflow_id is None:
        return None
    try:
        return await visit.context.db.lookup(workflows.visible, visit.account.id, workflow.parent_workflow_id)
    except NotFound:
        return None


def _new(visit: Visit, name: str, **more: Any) -> Workflow:
    now = now_ms()
    return Workflow(id=new_id(), account_id=visit.account.id, name=name, created_at=now, updated_at=now, **more)


def _search(visit: Visit) -> Search:
    start = whole_number(visit.asked("offset")) or 0
    return Search(visit.asked("q")[:200], visit.asked("tag")[:100] or None, PAGE + 1, start)


def _parsed(data: bytes) -> dict[str, Any]:
    """The graphs of a JSON file: the editor's form, or the API's. Raises PageError."""
    try:
        found = read_answer(data)
    except NOT_JSON as error:
        raise PageError("This file cannot be read.", hint=EXPORT) from error
    if isinstance(found, dict) and isinstance(found.get("nodes"), list):
        return {"editor_graph": json_text(found)}
    if isinstance(found, dict) and isinstance(found.get("prompt"), dict):
        found = found["prompt"]  # a request to the API, saved as it is
    try:
        parse_graph(found)
    except InvalidGraph as error:
        raise PageError("This file holds no workflow of ComfyUI's.", hint=EXPORT) from error
    return {"graph": json_text({node_id: _node(node) for node_id, node in found.items()})}


def _node(node: dict[str, Any]) -> dict[str, Any]:
    """A node without what ComfyUI notes on it while it runs (`is_changed`), which pictures keep too."""
    return {name: value for name, value in node.items() if name in ("class_type", "inputs", "_meta")}


async def _carried(name: Path, data: bytes) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="cw-import-") as folder:
        source, target = Path(folder) / f"source{name.suffix.lower()}", Path(folder) / "graphs.json"
        source.write_bytes(data)
        texts = msgspec.json.decode(target.read_bytes()) if await carried_graphs(source, target) else {}
    graphs: dict[str, Any] = {}
    for text in texts.values():
        try:
            graphs |= _parsed(text.encode())
        except ComfywardError:
            continue  # another program's text under the same name
    if not graphs:
        hint = "Pictures keep their workflow only when they are saved by ComfyUI and not changed since."
        raise PageError(f"'{name.name}' carries no workflow of ComfyUI's.", hint=hint)
    return graphs


def _templates(visit: Visit, words_wanted: str) -> list[dict[str, Any]]:
    """ComfyUI's own templates of that name, the most used first."""
    folder = visit.site.frontends.templates_folder
    wanted = words_wanted.lower().split()
    matching = (
        each
        for each in (_index(folder) if folder is not None else ())
        if all(word in f"{each.get('title', '')} {each.get('description', '')}".lower() for word in wanted)
    )
    return list(itertools.islice(matching, PAGE))


@functools.cache
def _index(folder: Path) -> list[dict[str, Any]]:
    """The templates whose graphs are here, the most used first. They do not change while a server runs."""
    categories = msgspec.json.decode((folder / "index.json").read_bytes())
    found = {each["name"]: each for category in categories for each in category["templates"]}
    here = [each for name, each in found.items() if (folder / f"{name}.json").is_file()]
    return sorted(here, key=lambda each: -int(each.get("usage", 0)))


def _template(visit: Visit, name: str) -> str:
    """The editor's graph of one of ComfyUI's templates. Raises PageError."""
    folder = visit.site.frontends.templates_folder
    path = folder / f"{name}.json" if folder is not None else None
    if path is None or path.parent != folder or not path.is_file():
        raise PageError(f"There is no template '{name}'.", status=404)
    return path.read_text()
