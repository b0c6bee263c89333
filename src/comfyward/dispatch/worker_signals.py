"""Signals that release held heartbeats: once an order for a worker is written, its heartbeat is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from comfyward.runs.change import Change, RunCancelling
from comfyward.store.notices import Notice, Notices, WorkerSignalled


class WorkerSignals:
    """Releases held heartbeats, here and on the other servers."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._by_worker: dict[str, asyncio.Event] = {}
        notices.subscribe(self._on_notice, self.send_all)

    def expect(self, worker_id: str) -> asyncio.Event:
        """The event set by the worker's next order. To be taken before reading the rows, so that none is missed."""
        signal = self._by_worker.setdefault(worker_id, asyncio.Event())
        signal.clear()
        return signal

    def send(self, worker_id: str) -> None:
        """Releases a worker's heartbeat on whichever server holds it, after an order was written."""
        self.send_here(worker_id)
        self._notices.send(WorkerSignalled(worker_id))

    def send_here(self, worker_id: str) -> None:
        """Releases a worker's heartbeat if this server holds it."""
        if signal := self._by_worker.get(worker_id):
            signal.set()

    def send_all(self) -> None:
        """Releases every heartbeat that this server holds."""
        for signal in self._by_worker.values():
            signal.set()

    def discard(self, worker_id: str) -> None:
        """Forgets a worker that has ended."""
        self._by_worker.pop(worker_id, None)

    def on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            match change:
                case RunCancelling(run) if run.worker_id is not None:
                    self.send(run.worker_id)

    def _on_notice(self, notice: Notice) -> None:
        match notice:
            case WorkerSignalled(worker_id):
                self.send_here(worker_id)
