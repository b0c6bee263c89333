"""ComfyUI's descriptions of node classes, with the account's own files among their choices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from comfyward.api.body import Kept, answer, answer_beside
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.account_catalog import AccountCatalog, AccountCatalogs
from comfyward.api.native.help import help_page
from comfyward.api.native.models import AnyObject
from comfyward.api.native.scope import Scopes
from comfyward.dispatch.heavy_requests import HEAVY, HEAVY_BYTES
from comfyward.store import files
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.listing import Paths

REMEMBERED = 64
FEW_FILES = 1000
MOST_OFFERED = 20_000  # files of an account in one input's choices; runs can name the others, too
MARKDOWN = "text/markdown"

SHARED_INFO = "/comfy/api/object_info"  # for all workflows of one environment, so that browsers fetch it once


class Nodes:
    def __init__(self, scopes: Scopes, catalogs: AccountCatalogs) -> None:
        self._scopes, self._catalogs = scopes, catalogs
        self._bodies: dict[tuple[Any, ...], tuple[Catalog, Kept]] = {}

    def endpoints(self) -> list[Endpoint]:
        info, page, name = Models(answer=AnyObject), Models(answer=MARKDOWN), "{class_type:path}"
        return [
            Endpoint("GET", "/object_info", self.all_info, "All node classes", info),
            Endpoint("GET", f"/object_info/{name}", self.info, "A node class", info),
            Endpoint("GET", "/node_replacements", self.replacements, "Replacements of classes that are gone", info),
            Endpoint("GET", f"/docs/{name}/{{locale}}.md", self.help, "The help of a node class", page),
            Endpoint("GET", f"/extensions/{{pack}}/docs/{name}.md", self.help, "The help of a pack's class", page),
        ]

    async def all_info(self, request: Request) -> Response:
        if "workflow_id" in request.path_params and _is_of_a_page(request):
            scope = await self._scopes.of(request)
            if not scope.is_bound and await self._catalogs.is_shared(scope):
                return RedirectResponse(SHARED_INFO, 307)
        return await self._all(request)

    async def _all(self, request: Request) -> Response:
        found = await self._catalogs.of(request)
        if found.catalog is None:
            return answer({})
        body = await self._body(found.catalog, found)
        return body.answer(request, "application/json", {"Cache-Control": "private, no-cache"})

    async def info(self, request: Request) -> Response:
        """An empty object for an unknown class: ComfyUI answers so, and clients rely on it."""
        found, name = await self._catalogs.of(request), request.path_params["class_type"]
        if found.catalog is None or name not in found.catalog.nodes:
            return answer({})
        catalog = found.catalog
        return await answer_beside(
            found.account_id, files.LISTED_BYTES * len(found.own), lambda: {name: extended(catalog, name, found.own)}
        )

    async def replacements(self, request: Request) -> Response:
        catalog = (await self._catalogs.of(request)).catalog
        return answer({} if catalog is None else catalog.replacements)

    async def help(self, request: Request) -> Response:
        """The class may be followed by a language; there is one."""
        catalog = (await self._catalogs.of(request)).catalog
        name, nodes = request.path_params["class_type"], catalog.nodes if catalog else {}
        found = name if name in nodes else name.rpartition("/")[0]
        if found not in nodes:
            return Response(status_code=404)
        return Response(help_page(found, nodes[found]), media_type=MARKDOWN)

    async def _body(self, catalog: Catalog, found: AccountCatalog) -> Kept:
        """The descriptions of all classes, encoded once for all accounts with the same files.

        With many files they are made anew each time, beside the event loop: each of some inputs lists them all.
        """
        own = found.own
        if len(own) > FEW_FILES:
            return await HEAVY.run(found.account_id, HEAVY_BYTES + 1, lambda: _described(catalog, own))
        key = (id(catalog), *own)  # the catalog is kept beside it: its id is nobody else's meanwhile
        if key not in self._bodies:
            if len(self._bodies) >= REMEMBERED:
                self._bodies.clear()
            self._bodies[key] = catalog, _described(catalog, own)
        return self._bodies[key][1]


def _described(catalog: Catalog, own: Paths) -> Kept:
    return Kept.of(msgspec.json.encode({name: extended(catalog, name, own) for name in catalog.nodes}))


def _is_of_a_page(request: Request) -> bool:
    """True for a browser's request on behalf of a page; many other clients follow no redirect."""
    return "sec-fetch-mode" in request.headers and "authorization" not in request.headers


def extended(catalog: Catalog, class_type: str, own: Paths) -> dict[str, Any]:
    """The description of a class, with the account's own files among the choices of inputs that take them."""
    info = catalog.nodes[class_type]
    of_inputs = {
        name: own.offered(catalog.listings_of(class_type, name)) for name in catalog.folders.get(class_type, ())
    }
    wanted = {name: sorted(offered)[:MOST_OFFERED] for name, offered in of_inputs.items() if offered}
    if not wanted:
        return info
    sections = {
        section: {name: _with_choices(spec, wanted[name]) if name in wanted else spec for name, spec in specs.items()}
        if isinstance(specs, dict)
        else specs
        for section, specs in (info.get("input") or {}).items()
    }
    return {**info, "input": sections}


def _with_choices(spec: Any, names: Iterable[str]) -> Any:
    """An input's description in either form: [[choices], options] or ["COMBO", {"options": choices}]."""
    if not isinstance(spec, list) or not spec:
        return spec
    first, *rest = spec
    if isinstance(first, list):
        return [_merged(first, names), *rest]
    options = rest[0] if rest and isinstance(rest[0], dict) else {}
    if first == "COMBO" and isinstance(options.get("options"), list):
        return [first, {**options, "options": _merged(options["options"], names)}, *rest[1:]]
    return spec


def _merged(choices: list[Any], names: Iterable[str]) -> list[Any]:
    return [*choices, *sorted(set(names) - {choice for choice in choices if isinstance(choice, str)})]
