"""A workflow's input is that of the newest run that brought it, also where those after it are large."""

from __future__ import annotations

import asyncio

import pytest

from comfyward.api.contents import RECENT_RUNS, find_input
from comfyward.errors import NotFound
from comfyward.runs.files import Source, Url
from comfyward.store.lists import LIST_BYTES
from tests.store.conftest import Store

PATH = "/input/photo.png"
GRAPH = '{"1":"' + "a" * (4 << 20) + '"}'
LARGE = LIST_BYTES // len(GRAPH) + 1


def test_an_input_that_only_an_old_run_brought(store: Store) -> None:
    store.new_run("older", created_at=1, files={PATH: {"url": "https://example.com/older"}})
    store.new_run("old", created_at=2, files={PATH: {"url": "https://example.com/old"}})
    for number in range(LARGE):
        store.new_run(f"r{number}", prompt=GRAPH, created_at=1000 + number)

    assert _found(store) == Url("https://example.com/old")


def test_only_recent_runs_count(store: Store) -> None:
    store.new_run("old", created_at=1, files={PATH: {"url": "https://example.com/old"}})
    for number in range(RECENT_RUNS - 1):
        store.new_run(f"r{number}", created_at=1000 + number)
    assert _found(store) == Url("https://example.com/old")

    store.new_run("newest", created_at=2000)

    with pytest.raises(NotFound):
        _found(store)


def _found(store: Store) -> Source:
    return asyncio.run(find_input(store.db, store.alice.id, store.default_workflow(store.alice), PATH))
