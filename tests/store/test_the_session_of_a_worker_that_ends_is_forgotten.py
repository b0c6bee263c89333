"""A worker that ends leaves nothing in its server's memory, and runs that wait for it are looked at again."""

import asyncio

from comfyward.dispatch.placement import Worker
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.waiting import WaitingWorkers
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.runs.run import Run
from comfyward.store import runs
from tests.store.conftest import Store

FILES = {"/input/a.png": {"url": "http://host/a.png"}}


def _sessions(store: Store) -> tuple[WorkerSessions, WaitingWorkers]:
    notices = store.db.notices
    signals, waiting = WorkerSignals(notices), WaitingWorkers(notices, asyncio.Event())
    logs = WorkerLogs(notices, signals)
    return WorkerSessions(store.db, Publisher(), signals, logs, waiting, lease_s=10), waiting


def _assigned(store: Store) -> Run:
    store.new_run("r", files=FILES)
    store.assign("r")
    return store.read(runs.get_any, "r")


async def test_files_that_it_was_handed_are_remembered_until_it_ends(store: Store) -> None:
    sessions, _ = _sessions(store)
    run = await asyncio.to_thread(_assigned, store)
    sessions.update(Worker("w", "L4", "default", True, frozenset()), busy=False)

    sessions.handed(run, isolated=False)
    assert (sessions.files_of("w"), sessions.is_busy("w")) == ({"http://host/a.png"}, True)

    await sessions.end("w")
    assert (sessions.files_of("w"), sessions.is_busy("w"), list(sessions.workers)) == (frozenset(), False, [])


async def test_the_assigner_is_woken_though_it_held_no_run(store: Store) -> None:
    sessions, waiting = _sessions(store)
    sessions.update(Worker("w", "L4", "default", True, frozenset()), busy=False)
    waiting.hint.clear()

    await sessions.end("w")

    assert waiting.hint.is_set()
