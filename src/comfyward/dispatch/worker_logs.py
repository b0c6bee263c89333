"""Logs of workers: requested by one server, and uploaded to whichever server the worker calls."""

from __future__ import annotations

import asyncio

from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.store.notices import LogUploaded, LogWanted, Notice, Notices


class WorkerLogs:
    """Requests the end of workers' logs, by an order in their heartbeat."""

    def __init__(self, notices: Notices, signals: WorkerSignals) -> None:
        self._notices, self._signals = notices, signals
        self._wanted: set[str] = set()  # by worker
        self._awaited: dict[str, asyncio.Future[str]] = {}  # by worker
        notices.subscribe(self._on_notice, lambda: None)

    async def get(self, worker_id: str, timeout_s: float) -> str | None:
        """The end of a worker's log; None if it is not uploaded in time."""
        awaited = self._awaited.setdefault(worker_id, asyncio.get_running_loop().create_future())
        self._want(worker_id)
        self._notices.send(LogWanted(worker_id))
        try:
            return await asyncio.wait_for(asyncio.shield(awaited), timeout_s)
        except TimeoutError:
            return None

    def is_wanted(self, worker_id: str) -> bool:
        return worker_id in self._wanted

    def uploaded(self, worker_id: str, text: str) -> None:
        """Records a log that a worker has uploaded to this server."""
        self._received(worker_id, text)
        self._notices.send(LogUploaded(worker_id, text))

    def discard(self, worker_id: str) -> None:
        """Forgets a worker that has ended."""
        self._wanted.discard(worker_id)

    def _want(self, worker_id: str) -> None:
        self._wanted.add(worker_id)
        self._signals.send_here(worker_id)

    def _received(self, worker_id: str, text: str) -> None:
        self._wanted.discard(worker_id)
        if awaited := self._awaited.pop(worker_id, None):
            awaited.set_result(text)

    def _on_notice(self, notice: Notice) -> None:
        match notice:
            case LogWanted(worker_id):
                self._want(worker_id)
            case LogUploaded(worker_id, text):
                self._received(worker_id, text)
