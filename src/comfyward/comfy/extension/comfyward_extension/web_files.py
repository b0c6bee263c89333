"""Lists what packs bring for the editor: the files of their web folders, and their routes that need no parameters.

Nothing is read here: whoever wants a file or an answer asks ComfyUI for it, which serves them.
"""

import asyncio
import inspect
import itertools
import os
import re
import sys
import urllib.parse

import folder_paths
import nodes
from aiohttp import web

MAX_FILES, MAX_ROUTES = 5000, 500
PARTS = re.compile(r"(?P<fixed>(?:/[^/{}]+)*/(?P<last>[^/{}]+))(?P<names>(?:/\{\w+\}){1,3})")
CORES = ("/extensions/", "/api/", "/templates", "/docs")  # static routes that ComfyUI makes itself


def add_route(server):
    @server.routes.get("/comfyward/web")
    async def get_web(request):
        return web.json_response(await asyncio.to_thread(_listed, server.app.router))


def _listed(router):
    """{"files": [[pack, path]], "routes": [[pack, path]]}, with paths as a request names them."""
    homes = [os.path.realpath(path) for path in folder_paths.get_folder_paths("custom_nodes")]
    folders = [("/extensions/" + name, folder) for name, folder in nodes.EXTENSION_WEB_DIRS.items()]
    for resource in router.resources():
        info = resource.get_info()
        if "directory" in info and not info["prefix"].startswith(CORES):
            folders.append((urllib.parse.unquote(info["prefix"]), str(info["directory"])))
    files = itertools.chain(
        itertools.chain.from_iterable(_files(prefix, folder, homes) for prefix, folder in folders),
        _named_by_routes(router, homes),
    )
    routes = {path: pack for path, handler in _plain_routes(router) if (pack := _pack_of(handler, homes))}
    # ComfyUI has each route below /api too.
    once = [[pack, path] for path, pack in sorted(routes.items()) if not _is_second(path, routes)]
    return {"files": list(itertools.islice(files, MAX_FILES)), "routes": once[:MAX_ROUTES]}


def _is_second(path, routes):
    return path.startswith("/api/") and path[len("/api") :] in routes


def _files(prefix, folder, homes):
    pack = _pack_at(folder, homes)
    if not pack:
        return
    for here, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(here, name)
            if not name.startswith(".") and os.path.isfile(path) and not os.path.islink(path):
                relative = os.path.relpath(path, folder).replace(os.sep, "/")
                yield [pack, f"{prefix.rstrip('/')}/{relative}"]


def _named_by_routes(router, homes):
    """Files that a route of a pack serves by name: `/p/common/{file}` those of each folder `common` beside the pack's
    scripts, `/p/common/{folder}/{file}` those of the folders in it."""
    folders = {folder: _pack_at(folder, homes) for folder in map(_around, nodes.EXTENSION_WEB_DIRS.values())}
    for route in router.routes():
        pattern = route.resource.get_info().get("formatter") if route.resource is not None else None
        found = pattern and PARTS.fullmatch(pattern)
        if not found or route.method != "GET" or pattern.startswith(CORES):
            continue
        pack, depth = _pack_of(route.handler, homes), found["names"].count("/")
        for folder in [folder for folder, owner in folders.items() if pack and owner == pack]:
            for _, path in _files("", folder, homes):
                parts = path.split("/")
                if len(parts) > depth + 1 and parts[-depth - 1] == found["last"]:
                    yield [pack, "/".join((found["fixed"], *parts[-depth:]))]


def _around(folder):
    """The folder that holds a pack's web folder, unless that is the pack itself."""
    around = os.path.dirname(os.path.realpath(folder))
    is_pack = os.path.dirname(around) in map(os.path.realpath, folder_paths.get_folder_paths("custom_nodes"))
    return folder if is_pack else around


def _plain_routes(router):
    for route in router.routes():
        path = route.resource.get_info().get("path") if route.resource is not None else None
        if path and route.method in ("GET", "*"):
            yield path, route.handler


def _pack_of(handler, homes):
    """The pack whose code a handler is; None for ComfyUI's own."""
    while hasattr(handler, "func"):
        handler = handler.func
    handler = inspect.unwrap(getattr(handler, "__func__", handler))
    code = getattr(handler, "__code__", None)
    module = sys.modules.get(getattr(handler, "__module__", None) or "")
    places = [getattr(code, "co_filename", None), getattr(module, "__file__", None)]
    return next((pack for place in places if place and (pack := _pack_at(place, homes))), None)


def _pack_at(path, homes):
    """The name of the pack below whose folder a path is."""
    found = os.path.realpath(path)
    for home in homes:
        if found.startswith(home + os.sep):
            return os.path.relpath(found, home).split(os.sep)[0]
    return None
