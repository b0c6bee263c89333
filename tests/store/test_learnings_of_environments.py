"""A learning belongs to one worker, until that goes; the last one of an environment is kept."""

from __future__ import annotations

import json

import pytest

from comfyward.dispatch.learnings import executable
from comfyward.environments.reference import Reference
from comfyward.errors import Conflict, NotFound, TooLarge
from comfyward.store import catalogs, environments, learnings, workers
from comfyward.store.catalogs import CatalogRow
from comfyward.store.environments import StoredLock
from comfyward.store.learnings import LearningWish
from comfyward.store.workers import WorkerRow
from comfyward.worker.learned import MAX_GRAPH
from tests.store.conftest import Store

DIGEST, OTHER, TARGET, NOW = "a" * 64, "b" * 64, "linux-x86_64/py3.11", 1_000_000
WANTED = LearningWish(["huggingface.co"], '{"1": {}}')


@pytest.fixture(autouse=True)
def environment(store: Store) -> None:
    store.write(environments.create, "portraits", "one", 1)
    store.write(environments.add_revision, "portraits", "one", StoredLock(TARGET, DIGEST, "{}"), 2)
    for name in ("first", "second"):
        names = dict.fromkeys(("incarnation", "device", "host", "sandbox", "token"), "x")
        row = {"id": name, "pool": "L4", "environment": "default", "target": TARGET, **names}
        times = {"started_at": NOW, "seen_at": NOW, "gone_at": None}
        store.write(workers.register, WorkerRow(**row, versions={}, local=False, **times))


def test_it_is_asked_for_until_a_worker_has_it(store: Store) -> None:
    begun = store.write(learnings.begin, "portraits", 1, WANTED, NOW)

    assert (begun.name, begun.number, begun.wanted, begun.state) == ("portraits", 1, WANTED, "waiting")
    assert store.read(learnings.asked, NOW) == [DIGEST]
    with pytest.raises(Conflict, match="is being learned already"):
        store.write(learnings.begin, "portraits", 1, WANTED, NOW)
    assert store.write(learnings.claim, OTHER, "first", NOW) is None
    claimed = store.write(learnings.claim, DIGEST, "first", NOW)
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.worker) == (begun.id, "learning", "first")
    assert store.read(learnings.asked, NOW) == []
    assert store.write(learnings.claim, DIGEST, "second", NOW) is None
    assert not store.write(learnings.finish, begun.id, ["second"], "{}", "", NOW)
    assert store.write(learnings.finish, begun.id, ["first"], '{"found": 1}', "", NOW)

    ended = store.read(learnings.latest, "portraits")
    assert (ended.state, ended.found, ended.finished_at) == ("done", '{"found": 1}', NOW)
    again = store.write(learnings.begin, "portraits", 1, WANTED, NOW + 1)
    assert (again.id != begun.id, again.found) == (True, None)


def test_a_workflow_of_the_editor_becomes_a_graph_once_a_worker_has_told_the_nodes(store: Store) -> None:
    of = Reference("portraits")
    graph = {"1": {"class_type": "Faces", "inputs": {"url": "x"}}}
    url = {"name": "url", "type": "STRING", "widget": {"name": "url"}, "link": None}
    drawn = {"id": 1, "type": "Faces", "mode": 0, "inputs": [url], "widgets_values": ["x"]}
    workflow = {"nodes": [drawn], "links": []}
    assert store.read(executable, of, None) == ""
    assert json.loads(store.read(executable, of, graph)) == graph
    with pytest.raises(Conflict, match="portraits@1 are not known before a worker has tried it"):
        store.read(executable, of, workflow)

    about = {"input": {"required": {"url": ["STRING", {}]}}, "output_node": True, "python_module": "x"}
    body = json.dumps({"nodes": {"Faces": about}, "folders": {}, "failures": []})
    store.write(catalogs.put, CatalogRow(DIGEST, "L4", "c" * 64, True, NOW), body)

    made = json.loads(store.read(executable, of, workflow))
    assert made["1"]["class_type"] == "Faces"
    assert made["1"]["inputs"] == {"url": "x"}
    with pytest.raises(TooLarge):
        store.read(executable, of, {"1": {"class_type": "Faces", "inputs": {"url": "x" * MAX_GRAPH}}})


def test_what_a_worker_leaves_goes_to_another(store: Store) -> None:
    begun = store.write(learnings.begin, "portraits", 1, WANTED, NOW)
    store.write(learnings.claim, DIGEST, "first", NOW)

    store.write(learnings.give_back, "first")  # it has started again
    assert store.read(learnings.asked, NOW) == [DIGEST]
    store.write(learnings.claim, DIGEST, "first", NOW)
    store.write(workers.leave, "first", NOW)
    assert store.read(learnings.asked, NOW) == [DIGEST]
    claimed = store.write(learnings.claim, DIGEST, "second", NOW)
    assert claimed is not None
    assert (claimed.id, claimed.worker) == (begun.id, "second")
    assert not store.write(learnings.finish, begun.id, ["first"], "{}", "", NOW)


def test_one_that_is_cancelled_or_fails_says_so(store: Store) -> None:
    with pytest.raises(NotFound, match="is not being learned"):
        store.write(learnings.cancel, "portraits", NOW)
    with pytest.raises(NotFound, match="Nothing was learned of 'portraits' yet"):
        store.read(learnings.latest, "portraits")
    begun = store.write(learnings.begin, "portraits", 1, WANTED, NOW)
    store.write(learnings.claim, DIGEST, "first", NOW)
    store.write(learnings.cancel, "portraits", NOW)
    assert not store.write(learnings.finish, begun.id, ["first"], "{}", "", NOW)
    assert store.read(learnings.latest, "portraits").state == "cancelled"

    failing = store.write(learnings.begin, "portraits", 1, WANTED, NOW)
    store.write(learnings.claim, DIGEST, "first", NOW)
    assert store.write(learnings.finish, failing.id, ["first"], "", "It did not start.", NOW)
    failed = store.read(learnings.latest, "portraits")
    assert (failed.state, failed.message, failed.found) == ("failed", "It did not start.", None)


def test_it_goes_with_its_environment(store: Store) -> None:
    store.write(learnings.begin, "portraits", 1, WANTED, NOW)
    store.write(environments.delete_named, "portraits")

    assert store.read(learnings.asked, NOW) == []
