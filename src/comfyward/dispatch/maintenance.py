"""Background work on rows: expired leases, deadlines, and the retention of runs, files and blobs."""

from __future__ import annotations

from sqlalchemy import Connection

from comfyward.dispatch import transitions
from comfyward.dispatch.arrivals import Arrivals
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.transitions import AttemptResult
from comfyward.dispatch.uploads import Uploads
from comfyward.loop import Loop
from comfyward.runs.change import Change, RunMoved
from comfyward.runs.failure import Failure
from comfyward.runs.run import EndReason
from comfyward.store import (
    accounts,
    deleted_models,
    deleted_workflows,
    environment_trees,
    environments,
    files,
    imports,
    leases,
    mirrors,
    queue,
    runs,
    trials,
    webhooks,
)
from comfyward.store.db import Database, now_ms

DAY_MS = 24 * 3600 * 1000
HOUR_MS = 3600 * 1000
STANDSTILL_MS = 2_000
PREVIEWS_KEPT_MS = DAY_MS
UPLOADS_KEPT_MS = DAY_MS
ARRIVALS_KEPT_MS = 2 * HOUR_MS  # their URLs are valid for an hour, and hashing takes minutes
MIRRORS_KEPT_MS = 30 * DAY_MS
IMPORTS_KEPT_MS = 30 * DAY_MS
DELIVERIES_KEPT_MS = 30 * DAY_MS  # each with the run as it was then
TRIALS_KEPT_MS = 7 * DAY_MS  # of workers that do not come again


class Rescue(Loop):
    """Requeues runs whose lease has expired.

    A server that was itself suspended (a paused machine, a stalled disk) could not receive heartbeats, so it waits for
    one more interval before it declares a worker lost.
    """

    name = "rescue"
    interval_s = 1.0

    def __init__(self, db: Database, publisher: Publisher) -> None:
        super().__init__(is_leader=db.is_leader)
        self._db, self._publisher = db, publisher
        self._ticked_at = now_ms()

    async def tick(self) -> dict[str, int]:
        since_ms, self._ticked_at = now_ms() - self._ticked_at, now_ms()
        if since_ms > STANDSTILL_MS or not await self._db.read(leases.expired, now_ms()):
            return {}
        rescued = await self._db.write(_rescue)
        self._publisher.publish(*rescued)
        return {"rescued": len(rescued)}


class Deadlines(Loop):
    """Ends queued runs past their deadline, and moves those that have waited too long to a larger pool."""

    name = "deadlines"
    interval_s = 1.0

    def __init__(self, db: Database, publisher: Publisher, fallback_after_s: float) -> None:
        super().__init__(is_leader=db.is_leader)
        self._db, self._publisher = db, publisher
        self._fallback_after_ms = int(fallback_after_s * 1000)

    async def tick(self) -> dict[str, int]:
        now, ended, moved = now_ms(), list[Change](), list[str]()
        if await self._db.read(queue.past_deadline, now, 1):
            ended = await self._db.write(_expire)
        if self._fallback_after_ms:
            moved = await self._db.write(queue.fall_back, now - self._fallback_after_ms)
        self._publisher.publish(*ended, *map(RunMoved, set(moved)))
        return {"expired": len(ended), "moved": len(moved)}


class Retention(Loop):
    """Deletes outdated rows of runs, files, links, previews, uploads, mirrors, trials, packs, workflows, imports,
    deliveries and accounts, then the blobs that nothing uses."""

    name = "retention"
    interval_s = 300.0

    def __init__(
        self,
        db: Database,
        publisher: Publisher,
        blobs: Blobs,
        arrivals: Arrivals,
        uploads: Uploads,
        retention_days: float,
    ) -> None:
        super().__init__(is_leader=db.is_leader)
        self._db, self._publisher, self._blobs = db, publisher, blobs
        self._arrivals, self._uploads, self._retention_days = arrivals, uploads, retention_days

    async def tick(self) -> dict[str, int]:
        now = now_ms()
        pruned = await self._prune(now)
        await self._cancel_late_runs()
        closed = await self._db.read(accounts.retired)
        for account_id in closed:
            await self._db.write(accounts.erase, account_id)
        return {**pruned, "accounts": len(closed), **await self._sweep(now)}

    async def _prune(self, now: int) -> dict[str, int]:
        """Deletes outdated rows."""
        write = self._db.write
        finished_before = now - int(self._retention_days * DAY_MS) if self._retention_days else None
        return {
            "runs": await write(runs.purge, deleted_before=now - HOUR_MS, finished_before=finished_before),
            "previews": await write(runs.drop_previews, now - PREVIEWS_KEPT_MS),
            "files": await write(files.expire, now),
            "links": sum([await write(files.forget_links, each) for each in await self._db.read(files.of_many_links)]),
            "mirrors": await write(mirrors.drop_unused, now - MIRRORS_KEPT_MS),
            "trials": await write(_prune_trials, now - TRIALS_KEPT_MS),
            "trees": await write(environment_trees.prune, now - DAY_MS),
            "uploads": await self._uploads.drop_outdated(now - UPLOADS_KEPT_MS),
            "models": await write(deleted_models.prune, now - deleted_models.KEPT_MS),
            "workflows": await write(deleted_workflows.prune, now - deleted_workflows.KEPT_MS),
            "imports": await write(imports.prune, now - IMPORTS_KEPT_MS),
            "deliveries": await write(webhooks.prune, now - DELIVERIES_KEPT_MS),
        }

    async def _sweep(self, now: int) -> dict[str, int]:
        """Removes the bytes that no row uses."""
        return {
            # An hour of grace: a blob is stored before the row that uses it is written.
            "blobs": await self._blobs.sweep(before=now - HOUR_MS),
            "arrivals": await self._arrivals.sweep(before=now - ARRIVALS_KEPT_MS),
            # Uploads that began before have been dropped, so older pieces belong to none.
            "pieces": await self._uploads.sweep(before=now - UPLOADS_KEPT_MS - HOUR_MS),
        }

    async def _cancel_late_runs(self) -> None:
        """Of accounts that were closed while the request was on its way: they would keep them from being erased."""
        for account_id, run_id in await self._db.read(runs.of_closed_accounts):
            _, change = await self._db.write(transitions.cancelled, account_id, run_id, now_ms())
            self._publisher.publish(change)


def _prune_trials(conn: Connection, seen_before: int) -> int:
    return trials.prune(conn, environments.named(conn), seen_before)


def _rescue(conn: Connection) -> list[Change]:
    now = now_ms()
    lost = (transitions.ended(conn, run, EndReason.WORKER_LOST, now) for run in leases.expired(conn, now))
    return [change for change in lost if change is not None]


def _expire(conn: Connection) -> list[Change]:
    now = now_ms()
    result = AttemptResult(failure=Failure("The run did not start by its deadline.", "Allow it more time to wait."))
    ended = [
        transitions.ended(conn, run, EndReason.TIMEOUT, now, result=result) for run in queue.past_deadline(conn, now)
    ]
    return [change for change in ended if change is not None]
