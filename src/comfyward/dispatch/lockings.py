"""Lockings: a server makes the next revision of an environment, because an admin asked over the API.

A locking is a row that any server can take, and another one takes over if it ends; nothing is left half done, since a
revision is added in one transaction. The work itself is done by processes at low priority.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch import promotions, revision_locking
from comfyward.dispatch.revision_locking import Base
from comfyward.dispatch.revisions import Revisions
from comfyward.dispatch.shared_trees import SharedTrees
from comfyward.environments.child import Step
from comfyward.environments.difference import Change, changes_between
from comfyward.environments.lock import Lock
from comfyward.environments.lockers import Lockers
from comfyward.environments.reference import Reference
from comfyward.environments.spec import parse_spec
from comfyward.environments.updating import Offered
from comfyward.errors import ComfywardError, Conflict, NotFound
from comfyward.ids import new_id
from comfyward.loop import Loop
from comfyward.runs.log import on_one_line, plain
from comfyward.store import environments, lockings
from comfyward.store.db import Database, now_ms
from comfyward.store.lockings import ACCEPT, PROMOTE, TRY, UPDATE, Locking, Wish
from comfyward.store.notices import Wake

log = logging.getLogger(__name__)

PARALLEL = 2
SOON_S = 1.0  # interval while something is being locked, which is also how often that is stored
FOREVER = 1 << 62  # later than any time, also of a clock that was ahead
TOO_LONG = "Look at that source, then ask again. COMFYWARD_ENVIRONMENT_BUILD_S is the limit."
LEFT_MS = 30_000  # without a word of the server that has it, another one takes it


class LockingFinds(msgspec.Struct, frozen=True):
    """The finds of a locking: the next spec and its lock, newer releases of ComfyUI, sentences on what could not be
    asked, and the changes since the newest revision."""

    spec: str
    lock: Lock
    offers: tuple[Offered, ...] = ()
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass
class _Working:
    """A locking that this server works on."""

    task: asyncio.Task[None]
    step: Step = field(default_factory=lambda: Step("Starting", None))

    def on_step(self, step: Step) -> None:
        self.step = step


class Lockings(Loop):
    """Locks what admins ask for."""

    name = "lockings"
    interval_s = 5.0

    def __init__(
        self, db: Database, lockers: Lockers, trees: SharedTrees, revisions: Revisions, limit_s: float
    ) -> None:
        """A locking that takes longer than `limit_s` has failed."""
        super().__init__()
        db.notices.wake(self.name, self._hint)
        self._db, self._lockers, self._trees = db, lockers, trees
        self._revisions, self._limit_s = revisions, limit_s
        self._server = new_id()
        self._working: dict[str, _Working] = {}

    async def begin(self, name: str, wish: Wish) -> Locking:
        """Asks for the next revision. The same that is unfinished is returned. Raises NotFound, Conflict."""
        begun = await self._db.write(lockings.begin, name, wish, now_ms())
        self._changed()
        return begun

    async def cancel(self, name: str) -> None:
        """Ends the unfinished locking of an environment. Raises NotFound if there is none."""
        await self._db.write(lockings.cancel, name, now_ms())
        self._changed()

    async def accept(self, name: str) -> int:
        """Makes the revision that an update has proposed. Returns its number. Raises NotFound, Conflict."""
        number = await self._db.write(accept, name, now_ms())
        self._revisions.changed()
        return number

    async def tick(self) -> dict[str, int]:
        for locking_id, working in list(self._working.items()):
            step = working.step
            if not await self._db.write(
                lockings.renew, locking_id, self._server, on_one_line(step.step), step.part, now_ms()
            ):
                working.task.cancel()
        claimed = await self._claimed()
        for each in claimed:
            self._working[each.id] = _Working(asyncio.create_task(self._lock(each)))
        self.interval_s = SOON_S if self._working else self.__class__.interval_s
        return {"begun": len(claimed)}

    async def stop(self) -> None:
        """Ends the processes; what they were doing begins again at another server, or at the next start."""
        await super().stop()
        working = dict(self._working)
        for each in working.values():
            each.task.cancel()
        await asyncio.gather(*(each.task for each in working.values()), return_exceptions=True)
        for locking_id in working:
            await self._db.write(lockings.give_back, locking_id, self._server)
        if working:
            self._db.notices.send(Wake(self.name))

    async def _claimed(self) -> list[Locking]:
        """Those that this server begins now: without other servers, also all that a former start has left."""
        now, room = now_ms(), PARALLEL - len(self._working)
        left_before = now - LEFT_MS if self._db.is_shared else FOREVER
        if room <= 0:
            return []
        return await self._db.write(lockings.claim, self._server, set(self._working), room, now, left_before)

    async def _lock(self, locking: Locking) -> None:
        try:
            async with asyncio.timeout(self._limit_s):
                await self._made(locking)
        except TimeoutError:
            message = f"It took longer than {self._limit_s:.0f} s. Its last step: {self._step_of(locking)}."
            await self._failed(locking, message, TOO_LONG)
        except ComfywardError as error:
            await self._failed(locking, error.message, error.hint)
        except Exception as error:  # it would be the same again
            log.exception("locking %s failed", locking.name, extra={"action": "locking_failed"})
            await self._failed(locking, f"An unexpected error on the server ({type(error).__name__}).", None)
        finally:
            self._working.pop(locking.id, None)
            self.wake()

    async def _made(self, locking: Locking) -> None:
        """Makes the revision. Raises SetupFailed."""
        base = await self._db.read(revision_locking.base_of, locking.name)
        start = base.start(locking.spec, locking.kind)
        if start.known is not None:
            found = LockingFinds(locking.spec, start.known, changes=tuple(changes_between(base.lock, start.known)))
        else:
            found = await self._found(locking, base, start.former)
        end = _propose if locking.kind == UPDATE and locking.next != ACCEPT else _complete
        if await self._db.write(end, locking, self._server, found, now_ms()):
            self._revisions.changed()

    async def _found(self, locking: Locking, base: Base, former: Lock | None) -> LockingFinds:
        await self._trees.obtain_for(parse_spec(locking.spec))
        update = locking.comfyui if locking.kind == UPDATE else None
        made = await self._lockers.lock(locking.spec, former, update, self._working[locking.id].on_step)
        changes = changes_between(base.lock, made.lock)
        return LockingFinds(made.spec, made.lock, made.offers, tuple(map(on_one_line, made.notes)), tuple(changes))

    async def _failed(self, locking: Locking, message: str, hint: str | None) -> None:
        texts = (on_one_line(message), plain(hint or ""))
        await self._db.write(lockings.fail, locking.id, self._server, *texts, now_ms())

    def _step_of(self, locking: Locking) -> str:
        return on_one_line(self._working[locking.id].step.step)

    def _changed(self) -> None:
        """Wakes this loop on every server."""
        self.wake()
        self._db.notices.send(Wake(self.name))


def found_of(locking: Locking) -> LockingFinds | None:
    """The finds of a locking; None before there are any."""
    return None if locking.found is None else msgspec.json.decode(locking.found, type=LockingFinds)


def accept(conn: Connection, name: str, now: int) -> int:
    """Makes the revision that an update has proposed. Returns its number.

    Raises NotFound if none is proposed, and Conflict if the spec was changed since.
    """
    spec, locking = environments.get(conn, name).spec, lockings.latest(conn, name)
    found = found_of(locking) if locking is not None else None
    if locking is None or found is None or not lockings.is_proposed(conn, locking.id):
        raise NotFound(f"No update of '{name}' is proposed.", hint="Ask for one first.")
    if spec != locking.spec:
        raise Conflict(f"The environment '{name}' was changed since the update was proposed.", hint="Ask for another.")
    return _add(conn, locking, found, now)


def _complete(conn: Connection, locking: Locking, server: str, found: LockingFinds, now: int) -> bool:
    """Adds the revision, and has it tried if that was asked for. False if the locking is the server's no longer."""
    if not lockings.is_of(conn, locking.id, server):
        return False
    number = _add(conn, locking, found, now)
    if locking.next == TRY:
        promotions.ask_to_try(conn, Reference(locking.name, number), now)
    if locking.next == PROMOTE:
        promotions.try_and_promote(conn, Reference(locking.name, number), now)
    return True


def _propose(conn: Connection, locking: Locking, server: str, found: LockingFinds, now: int) -> bool:
    """Keeps what was found until somebody accepts it, if it differs from the newest revision."""
    if not lockings.is_of(conn, locking.id, server):
        return False
    base = revision_locking.base_of(conn, locking.name)
    if base.is_same(found.spec, found.lock):
        lockings.complete(conn, locking.id, base.number, is_new=False, found=_text(found), now=now)
    else:
        lockings.propose(conn, locking.id, _text(found), now)
    return True


def _add(conn: Connection, locking: Locking, found: LockingFinds, now: int) -> int:
    """Adds the revision. Returns its number. Raises Conflict."""
    number, is_new = revision_locking.add_updated(conn, locking.name, locking.spec, found.spec, found.lock, now)
    lockings.complete(conn, locking.id, number, is_new=is_new, found=_text(found), now=now)
    return number


def _text(found: LockingFinds) -> str:
    return msgspec.json.encode(found).decode()
