"""Lists of large runs and workflows are made by threads for heavy requests; small ones at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from comfyward.accounts.account import Account, Caller
from comfyward.api.native import queue
from comfyward.api.native.queue import Queue
from comfyward.api.native.scope import Scopes
from comfyward.api.v1.workflows import Workflows
from comfyward.api.v2.jobs import Jobs
from comfyward.dispatch.catalogs import Catalogs
from comfyward.dispatch.heavy_requests import HEAVY_BYTES
from comfyward.dispatch.inventory import Inventory
from comfyward.store import workflows
from comfyward.workflows.workflow import Workflow
from tests.store.conftest import Store

LARGE = '{"1":"' + "a" * HEAVY_BYTES + '"}'
NOTHING: Any = None  # of what lists do not need


class Of:
    """Callers that are all one account."""

    is_bound = False

    def __init__(self, account: Account) -> None:
        self._account = account

    async def of(self, request: HTTPConnection) -> Caller:
        return Caller(self._account, None)

    async def caller(self, request: HTTPConnection) -> Caller:
        return await self.of(request)


class Threads:
    """Shows each item as its place in the list alone, and keeps the names of the threads that do."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def of(self, _: Request) -> Threads:
        return self

    def listed(self, *_: object) -> Any:
        self.names.append(threading.current_thread().name)
        return {}

    workflow = listed

    @property
    def were_beside(self) -> set[bool]:
        return {name.startswith("heavy-request") for name in self.names}


@pytest.mark.parametrize(("graph", "is_beside"), [("{}", False), (LARGE, True)], ids=["small", "large"])
def test_runs_and_workflows(store: Store, monkeypatch: pytest.MonkeyPatch, graph: str, is_beside: bool) -> None:
    store.new_run("r", prompt=graph)
    store.write(workflows.create, _workflow(store, graph))
    caller, seen = cast(Any, Of(store.alice)), Threads()
    rendering = cast(Any, seen)
    monkeypatch.setattr(queue, "queue_item", seen.listed)
    offered = Inventory(store.db, Catalogs(store.db), [], {}, None)

    for handler, shown in (
        (Workflows(caller, store.db, rendering, NOTHING, NOTHING, 0).find, 2),  # and the default one
        (Jobs(store.db, caller, NOTHING, NOTHING, rendering, 0).find, 1),
        (Queue(store.db, Scopes(store.db, caller), offered, 0).queue, 1),
    ):
        seen.names.clear()
        assert _answer(handler).status_code == 200
        assert (len(seen.names), seen.were_beside) == (shown, {is_beside})


def _workflow(store: Store, graph: str) -> Workflow:
    named = {"id": "w", "account_id": store.alice.id, "name": "w"}
    return Workflow(**named, graph=graph, editor_graph=None, created_at=1, updated_at=1)


def _answer(handler: Callable[[Request], Awaitable[Response]]) -> Response:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "path_params": {}}

    async def answered() -> Response:
        return await handler(Request(scope))

    return asyncio.run(answered())
