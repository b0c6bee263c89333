"""Rehearsals: a revision that is tried repeats the last good run of each workflow that is marked for it.

They are runs as any other, in the revision by its number, so they take the way of production: files, walls, outputs.
What they made is compared with what was made before; a difference is a failed trial.
"""

from __future__ import annotations

import asyncio
import json
import logging

from sqlalchemy import Connection

from comfyward.accounts.account import Caller
from comfyward.dispatch.intake import Intake, Submission
from comfyward.errors import ComfywardError, InvalidEnvironment, InvalidGraph, NotFound
from comfyward.files.objects import Objects, blob_key
from comfyward.files.pictures import Decoders
from comfyward.runs.comparison import compared
from comfyward.runs.log import on_one_line
from comfyward.runs.output import Output
from comfyward.runs.run import EndReason, Run, State
from comfyward.sandbox.temporary import TemporaryFolder
from comfyward.store import accounts, environments, rehearsals, runs, trials, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.rehearsals import BROKEN, DIFFERENT, RUNNING, SAME, SKIPPED, Due, Rehearsal
from comfyward.store.trials import READY

log = logging.getLogger(__name__)

MOST_DIFFERENT = 0.05  # of the range of a colour, on average: devices and versions of torch round differently
MAX_PICTURE_BYTES = 64 << 20
START_WITHIN_S = 3600.0
READY_WITHIN_MS = 2 * 3600_000  # in the pool of the run, after the trial was asked for: longer than building and trying
# These say nothing of the environment.
NOT_ITS_FAULT = frozenset(
    {
        EndReason.CANCELLED,
        EndReason.DOWNLOAD,
        EndReason.HOST_BUSY,
        EndReason.INSUFFICIENT_CREDIT,
        EndReason.WORKER_LOST,
        EndReason.STORAGE_FULL,
        EndReason.INTERNAL,
    }
)


class Rehearsals:
    """Begins rehearsals once a worker has a revision ready, and ends them when their runs have ended."""

    def __init__(self, db: Database, intake: Intake, objects: Objects, decoders: Decoders) -> None:
        self._db, self._intake, self._objects, self._decoders = db, intake, objects, decoders

    async def advance(self) -> int:
        """Returns the number of those that have not ended, or not begun."""
        due, ready = await self._db.read(_due_and_ready)
        left = len(due) - len(ready)
        for one in ready:
            await self._begin(one)
        for each in await self._db.read(rehearsals.running):
            left += not await self._has_ended(each)
        return left

    async def _begin(self, due: Due) -> None:
        """Submits the run. Without one that can be repeated it is skipped, with the reason."""
        account_id, workflow_id = due.marked.account_id, due.marked.workflow_id
        former_id = await self._db.read(rehearsals.last_good, workflow_id)
        run_id, state, message = "", SKIPPED, "No run of it has succeeded yet."
        if former_id is not None:
            try:
                former = await self._db.read(runs.get, account_id, former_id)
                run_id, state, message = await self._submit(due, former), RUNNING, ""
            except InvalidGraph as error:
                state, message = BROKEN, f"It is refused: {error.message}"
            except InvalidEnvironment as error:
                if now_ms() - due.asked_at < READY_WITHIN_MS:
                    return  # its pool does not have the revision yet
                message = f"Its last good run cannot be repeated: {error.message}"
            except ComfywardError as error:
                message = f"Its last good run cannot be repeated: {error.message}"
            except Exception as error:  # others are repeated all the same
                state, message = BROKEN, _unexpected(error, workflow_id)
        now = now_ms()
        new = Rehearsal(
            environment_id=due.environment_id,
            number=due.number,
            workflow_id=workflow_id,
            account_id=account_id,
            former_run_id=former_id or "",
            run_id=run_id,
            state=state,
            message=on_one_line(message),
            difference=None,
            created_at=now,
            finished_at=None if state == RUNNING else now,
        )
        await self._db.write(rehearsals.begin, new)

    async def _submit(self, due: Due, former: Run) -> str:
        account = await self._db.read(accounts.by_id, former.account_id)
        submission = Submission.again(
            former,
            webhook=None,
            environment=f"{due.name}@{due.number}",
            tags=(f"{rehearsals.TAG}{due.name}@{due.number}",),
            start_within_s=START_WITHIN_S,
            # The same again if a server ends between this and the row.
            idempotency_key=f"{due.environment_id} {due.number} {due.marked.workflow_id} {due.asked_at}",
        )
        return (await self._intake.submit(Caller(account, None), submission)).run_id

    async def _has_ended(self, rehearsal: Rehearsal) -> bool:
        """As `_is_over`. One that cannot be compared keeps no other revision waiting."""
        try:
            return await self._is_over(rehearsal)
        except Exception as error:
            return await self._finish(rehearsal, BROKEN, _unexpected(error, rehearsal.workflow_id))

    async def _is_over(self, rehearsal: Rehearsal) -> bool:
        """True if its run has ended, of which the outcome is stored then."""
        try:
            run = await self._db.read(runs.get, rehearsal.account_id, rehearsal.run_id)
        except NotFound:
            return await self._finish(rehearsal, SKIPPED, "Its run was deleted.")
        if not run.state.is_final:
            return False
        if run.state is not State.SUCCEEDED:
            said = run.failure.message if run.failure and run.failure.message else f"It ended: {run.end_reason}."
            return await self._finish(rehearsal, SKIPPED if _says_nothing(run) else BROKEN, said)
        return await self._compare(rehearsal, run)

    async def _compare(self, rehearsal: Rehearsal, run: Run) -> bool:
        try:
            former = await self._db.read(runs.get, rehearsal.account_id, rehearsal.former_run_id)
        except NotFound:
            return await self._finish(rehearsal, SKIPPED, "The run that it repeats was deleted.")
        found = compared(former.outputs, run.outputs)
        if found.message:
            return await self._finish(rehearsal, DIFFERENT, found.message)
        most = 0.0
        for one, other in found.pairs:
            difference = await self._difference(run.account_id, one, other)
            if difference is None:
                return await self._finish(rehearsal, SAME, "Not all of its pictures can be compared.")
            most = max(most, difference)
        if most > MOST_DIFFERENT:
            message = f"Its picture differs by {most:.0%} from the one before; up to {MOST_DIFFERENT:.0%} is the same."
            return await self._finish(rehearsal, DIFFERENT, message, most)
        return await self._finish(rehearsal, SAME, "", most)

    async def _difference(self, account_id: str, one: Output, other: Output) -> float | None:
        """The mean difference of two pictures, 0 to 1; None if one is gone, too large, or cannot be read."""
        if max(one.size, other.size) > MAX_PICTURE_BYTES:
            return None
        with TemporaryFolder() as folder:
            paths = folder / "one", folder / "other"
            try:
                for output, path in zip((one, other), paths, strict=True):
                    data = await self._objects.read_all(blob_key(output.digest))
                    await asyncio.to_thread(path.write_bytes, data)
            except NotFound:
                return None
            target = folder / "difference"
            if not await self._decoders.difference(account_id, *paths, target):
                return None
            return float(json.loads(target.read_text())["difference"])

    async def _finish(self, of: Rehearsal, state: str, message: str, difference: float | None = None) -> bool:
        await self._db.write(rehearsals.finish, of, state, on_one_line(message), difference, now_ms())
        return True


def _says_nothing(run: Run) -> bool:
    """True for an end that says nothing of the environment: a run that found no worker in time, too."""
    return run.end_reason in NOT_ITS_FAULT or (run.end_reason is EndReason.TIMEOUT and run.started_at is None)


def _unexpected(error: Exception, workflow_id: str) -> str:
    log.error("the rehearsal of %s failed", workflow_id, exc_info=error, extra={"action": "rehearsal_failed"})
    return f"An unexpected error on the server ({type(error).__name__})."


def _due_and_ready(conn: Connection) -> tuple[list[Due], list[Due]]:
    """(the due rehearsals, those of revisions that a present worker has ready)."""
    due = rehearsals.due(conn)
    if not due:
        return [], []
    ready = {each.digest for each in trials.present(conn, now_ms() - workers.PRESENT_MS) if each.state == READY}
    standing = environments.standing(conn)
    return due, [each for each in due if ready & set(standing[each.name].digests.get(each.number, {}).values())]
