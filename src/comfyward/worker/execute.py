"""The second stage: exactly one run holds ComfyUI. Only the time in this stage is billed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from comfyward.comfy import messages
from comfyward.comfy.client import History
from comfyward.comfy.run_folders import MAX_MOVED, StagedFile
from comfyward.errors import (
    ComfyUICrashed,
    ComfyUIError,
    ComfyUIOverLimit,
    EndlessAnswer,
    GraphRefused,
    UnreadableAnswer,
)
from comfyward.runs.run import EndReason
from comfyward.sandbox import beneath, removal
from comfyward.worker.attempt import Attempt, Executed, Failed
from comfyward.worker.collect import Gathering
from comfyward.worker.failures import failure_of_cancel, failure_of_error, failure_of_refusal, failure_of_stop
from comfyward.worker.generation import Generation
from comfyward.worker.message_handler import MessageHandler
from comfyward.worker.protocol import FailureReport

log = logging.getLogger(__name__)

RECONCILE_S = 5.0
INTERRUPT_AGAIN_S = 0.25
INTERRUPT_GRACE_S = 15.0


class Execution:
    """One run in a ComfyUI that belongs to its account."""

    def __init__(self, comfyui: Generation, attempt: Attempt, gathering: Gathering) -> None:
        self._comfyui, self._attempt, self._gathering = comfyui, attempt, gathering

    @property
    def models(self) -> list[str]:
        """The models that ComfyUI has loaded after it."""
        return self._attempt.assignment.models

    async def execute(self, files: list[StagedFile]) -> Executed:
        """Raises Failed if the run did not succeed."""
        log_start = self._comfyui.process.begin_log()
        began = time.monotonic()
        try:
            self._comfyui.folders.place(files)
            self._attempt.reporter.started()
            history = await self._run({file.path: file.digest for file in files})
            return Executed(history, _ms_since(began), self._log(log_start))
        except ComfyUIError as error:
            reason, failure = _explain(self._cause(error))
            if reason in (EndReason.COMFYUI_CRASHED, EndReason.INTERNAL):
                run_id = self._attempt.assignment.run_id
                log.warning("run %s: ComfyUI is lost: %s", run_id, failure.message, extra={"action": "comfyui_lost"})
            raise Failed(reason, failure, run_time_ms=_ms_since(began), log=self._log(log_start)) from error
        except Failed as failed:
            ended = msgspec.structs.replace(failed.ended, run_time_ms=_ms_since(began), log=self._log(log_start))
            failed.ended = ended
            raise
        finally:
            await self._clear(self._gathering.left)

    async def _clear(self, left: Path) -> None:
        """Moves everything of the run away. Files that cannot be moved disappear with the process."""
        moves = (functools.partial(_take_files, self._comfyui.base, left), self._comfyui.folders.clear)
        for error in await asyncio.to_thread(_failures, moves):
            log.warning("ComfyUI is killed for what a run left: %s", error, extra={"action": "comfyui_killed"})
            self._comfyui.kill()

    def _log(self, start: int) -> str:
        return self._comfyui.process.log_since(start)

    def _cause(self, error: ComfyUIError) -> ComfyUIError:
        """The error; if ComfyUI was killed for what it used, that instead, whichever was noticed first."""
        over_limit = self._comfyui.process.over_limit
        return error if over_limit is None else ComfyUIOverLimit(over_limit)

    async def _run(self, digests: dict[str, str]) -> History:
        with self._comfyui.inbox.read():
            return await self._run_and_follow(digests)

    async def _run_and_follow(self, digests: dict[str, str]) -> History:
        attempt, assignment, client = self._attempt, self._attempt.assignment, self._comfyui.client
        await client.submit(attempt.prompt_id, assignment.prompt, assignment.extra_data, digests)
        following = asyncio.create_task(self._follow())
        halting = asyncio.create_task(attempt.halt.wait())
        try:
            await asyncio.wait({following, halting}, timeout=assignment.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                return await following
            await self._interrupt(following)
            if not halting.done():
                raise _timed_out(assignment.timeout_s)
            raise Failed(EndReason.CANCELLED, await self._cancelled_at())
        finally:
            for task in (following, halting):
                task.cancel()
            await asyncio.gather(following, halting, return_exceptions=True)

    async def _follow(self) -> History:
        """Handles messages until the prompt is over, and returns its history."""
        prompt_id, inbox, nodes = self._attempt.prompt_id, self._comfyui.inbox, self._gathering.nodes
        handler = MessageHandler(self._attempt, self._gathering)
        while True:
            try:
                async with asyncio.timeout(RECONCILE_S):
                    message = await inbox.get()
            except TimeoutError:
                # The websocket may have stalled without closing: history and queue know the truth.
                if (history := await self._reconcile()) is not None:
                    return _judge(history, handler.error, nodes)
                continue
            match message:
                case None:
                    raise await self._crashed()
                case messages.Overlong():
                    raise EndlessAnswer("A node sent a message that is too long.")
                case messages.Finished(finished, entry) if finished == prompt_id:
                    history = await self._history() if entry is None else History.of(entry)
                    return _judge(history, handler.error, nodes)
                case _:
                    await handler.handle(message)
                    await asyncio.sleep(0)  # messages without end let this worker's leases be renewed

    async def _history(self) -> History:
        history = await self._comfyui.client.history(self._attempt.prompt_id)
        if history is None:
            raise ComfyUIError("ComfyUI says that the prompt is over but has no history of it.")
        return history

    async def _reconcile(self) -> History | None:
        client, prompt_id = self._comfyui.client, self._attempt.prompt_id
        history = await client.history(prompt_id)
        if history is None and not await client.is_queued(prompt_id):
            # It may have finished between the two questions.
            history = await client.history(prompt_id)
            if history is None:
                raise ComfyUIError("ComfyUI lost the prompt: it is neither queued nor finished.")
        return history

    async def _crashed(self) -> ComfyUICrashed:
        if not self._comfyui.process.is_running:
            return ComfyUICrashed("ComfyUI ended during the run.")
        self._comfyui.kill()
        return ComfyUICrashed("ComfyUI closed its websocket during the run.")

    async def _interrupt(self, following: asyncio.Task[History]) -> None:
        """Stops the prompt. Kills ComfyUI if it does not stop, since another run waits for it."""
        try:
            async with asyncio.timeout(INTERRUPT_GRACE_S):
                return await self._stop(following)
        except ComfyUICrashed:
            self._comfyui.kill()  # it may have closed its door only
        except (ComfyUIError, TimeoutError):
            log.warning("ComfyUI does not stop; killing it", extra={"action": "comfyui_killed"})
            self._comfyui.kill()

    async def _stop(self, following: asyncio.Task[History]) -> None:
        """Interrupts the prompt again and again, since ComfyUI clears the flag when a prompt starts. Raises
        ComfyUIError."""
        prompt_id, client = self._attempt.prompt_id, self._comfyui.client
        while not following.done():
            await client.interrupt(prompt_id)
            if not await client.is_queued(prompt_id):
                return
            await asyncio.wait({following}, timeout=INTERRUPT_AGAIN_S)

    async def _cancelled_at(self) -> FailureReport | None:
        """The node at which a cancelled prompt stopped; None if ComfyUI does not say."""
        with contextlib.suppress(ComfyUIError, TimeoutError):
            async with asyncio.timeout(RECONCILE_S):
                history = await self._comfyui.client.history(self._attempt.prompt_id)
            interrupted = None if history is None else history.message("execution_interrupted")
            return None if interrupted is None else failure_of_cancel(interrupted)
        return None


def _judge(history: History, error: Mapping[str, Any] | None, nodes: Mapping[str, msgspec.Raw]) -> History:
    """The history of a run that succeeded. Any node's error is a failure, whatever the history says."""
    if error := error or history.message("execution_error"):
        raise Failed(*failure_of_error(error, nodes))
    if history.succeeded:
        return history
    interrupted = history.message("execution_interrupted")
    if interrupted is not None:
        # Nobody asked for it: a caller's cancel and a lost lease never come this far.
        raise Failed(*failure_of_stop(interrupted))
    raise UnreadableAnswer("ComfyUI ended the run without success and without an error.")


def _explain(error: ComfyUIError) -> tuple[EndReason, FailureReport]:
    match error:
        case GraphRefused():
            return failure_of_refusal(error)
        case ComfyUIOverLimit():
            return EndReason.OVER_LIMIT, FailureReport(error.message)
        case ComfyUICrashed():
            return EndReason.COMFYUI_CRASHED, FailureReport(error.message)
        case EndlessAnswer():
            return EndReason.OVER_LIMIT, FailureReport(error.message)
        case UnreadableAnswer():  # it would be the same again
            return EndReason.NODE_ERROR, FailureReport(error.message)
        case _:
            return EndReason.INTERNAL, FailureReport(error.message)


def _timed_out(timeout_s: float) -> Failed:
    return Failed(EndReason.TIMEOUT, FailureReport(f"The run took longer than its timeout of {timeout_s:g} s."))


def _failures(moves: Iterable[Callable[[], None]]) -> list[OSError]:
    """Makes all moves, and returns the errors of those that failed."""
    failed = []
    for move in moves:
        try:
            move()
        except OSError as error:
            failed.append(error)
    return failed


def _take_files(base: Path, left: Path) -> None:
    """Moves the contents of output/ and temp/ away, so that the next run starts with empty folders.

    Raises OSError if there are too many to move: they stay where they are.
    """
    for name in ("output", "temp"):
        with beneath.opened(base, [name]) as opened:
            with os.scandir(opened) as found:
                entries = [entry.name for entry in itertools.islice(found, MAX_MOVED + 1)]
            if entries:
                (left / name).mkdir(parents=True, exist_ok=True)
            for entry in entries:
                removal.make_movable(entry, opened)
                os.rename(entry, left / name / entry, src_dir_fd=opened)
            if len(entries) > MAX_MOVED:
                raise OSError(f"more than {MAX_MOVED} entries in {name}/")


def _ms_since(began: float) -> int:
    return max(1, round((time.monotonic() - began) * 1000))
