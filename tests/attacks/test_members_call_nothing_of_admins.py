"""A member calls every route and page that is for admins: each is refused before anything is read or changed."""

from __future__ import annotations

from functools import partial

import pytest
from starlette.routing import Route

from comfyward.api.native.frontend import Frontends
from comfyward.server.apis.website import website
from comfyward.web.page import Access, Page
from tests.routes import CORE
from tests.stack.stack import Client, Stack

FOR_ADMINS = "(admins)"
ALSO_FOR_MEMBERS = [("get", "/api/v1/environments/{name}")]  # tells them a name and a revision


@pytest.fixture(scope="module")
def described(shared: Stack) -> dict[str, dict[str, dict[str, str]]]:
    """The routes of the OpenAPI."""
    return dict(shared.client().http.get("/openapi.json").json()["paths"])


def test_routes(shared: Stack, tenant: Client, described: dict[str, dict[str, dict[str, str]]]) -> None:
    found = [
        (method, path)
        for path, methods in described.items()
        for method, about in methods.items()
        if FOR_ADMINS in about["summary"] and (method, path) not in ALSO_FOR_MEMBERS
    ]
    answers = {
        (method, path): tenant.http.request(method, path.replace("{", "").replace("}", ""), content=b"{").status_code
        for method, path in found
    }

    assert len(found) > 20
    assert [each for each, status in answers.items() if status != 403] == []


def test_pages_of_admins(shared: Stack) -> None:
    visitor = shared.visitor("no admin")
    found = [page for page in _pages() if page.access is Access.ADMINS]
    answers = {
        (page.method, page.path): visitor.request(page.method, page.path.replace("{", "").replace("}", "")).status_code
        for page in found
    }

    assert len(found) > 20
    assert [each for each, status in answers.items() if status != 403] == []


def _pages() -> list[Page]:
    routes = website(CORE, Frontends()).routes
    handlers = [route.endpoint for route in routes if isinstance(route, Route)]
    return [handler.args[0] for handler in handlers if isinstance(handler, partial)]
