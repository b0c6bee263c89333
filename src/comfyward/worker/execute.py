"""The second stage: exactly one run holds ComfyUI. Only the time in this stage is billed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from comfyward.comfy import beneath, messages, removal
from comfyward.comfy.client import History
from comfyward.comfy.run_folders import StagedFile
from comfyward.errors import ComfyUICrashed, ComfyUIError, GraphRefused, UnreadableAnswer
from comfyward.runs.run import EndReason
from comfyward.worker.collect import Gathering
from comfyward.worker.failures import failure_of_error, failure_of_refusal, failure_of_stop
from comfyward.worker.job import Executed, Failed, Job
from comfyward.worker.message_handler import MessageHandler
from comfyward.worker.protocol import FailureReport
from comfyward.worker.warm import WarmComfyUI

log = logging.getLogger(__name__)

RECONCILE_S = 5.0
INTERRUPT_AGAIN_S = 0.25
INTERRUPT_GRACE_S = 15.0


class Execute:
    """Runs one graph after another in a warm ComfyUI."""

    def __init__(self, comfyui: WarmComfyUI, collect_dir: Path) -> None:
        self._comfyui = comfyui
        self._base = comfyui.spec.base_dir
        self._collect_dir = collect_dir

    async def execute(self, job: Job, files: list[StagedFile], gathering: Gathering) -> Executed:
        """Raises Failed if the run did not succeed, SetupFailed if ComfyUI cannot be started."""
        await self._comfyui.ensure()
        log_start = self._comfyui.process.begin_log()
        began = time.monotonic()
        try:
            self._comfyui.folders.place(files)
            job.reporter.started()
            history = await self._run(job, gathering, {file.path: file.digest for file in files})
            return Executed(history, _ms_since(began), self._log(log_start))
        except ComfyUIError as error:
            reason, failure = _explain(error)
            raise Failed(reason, failure, run_time_ms=_ms_since(began), log=self._log(log_start)) from error
        except Failed as failed:
            ended = msgspec.structs.replace(failed.ended, run_time_ms=_ms_since(began), log=self._log(log_start))
            failed.ended = ended
            raise
        finally:
            self._clear(gathering.left)

    def _clear(self, left: Path) -> None:
        """Removes everything of the run. Files that cannot be removed now disappear with the process."""
        try:
            self._comfyui.folders.clear()
            _take_files(self._base, left)
        except OSError:
            self._comfyui.kill()
            raise

    def _log(self, start: int) -> str:
        return self._comfyui.process.log_since(start)

    async def _run(self, job: Job, gathering: Gathering, digests: dict[str, str]) -> History:
        assignment, client = job.assignment, self._comfyui.client
        _drain(self._comfyui.messages)
        await client.submit(job.prompt_id, assignment.prompt, assignment.extra_data, digests)
        following = asyncio.create_task(self._follow(job, gathering))
        halting = asyncio.create_task(job.halt())
        try:
            await asyncio.wait({following, halting}, timeout=assignment.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                return await following
            await self._interrupt(job.prompt_id, following)
            raise Failed(EndReason.CANCELLED) if halting.done() else _timed_out(assignment.timeout_s)
        finally:
            for task in (following, halting):
                task.cancel()
            await asyncio.gather(following, halting, return_exceptions=True)

    async def _follow(self, job: Job, gathering: Gathering) -> History:
        """Handles messages until the prompt is over, and returns its history."""
        prompt_id, queue, handler = job.prompt_id, self._comfyui.messages, MessageHandler(job, gathering)
        nodes = gathering.nodes
        while True:
            try:
                async with asyncio.timeout(RECONCILE_S):
                    message = await queue.get()
            except TimeoutError:
                # The websocket may have stalled without closing: history and queue know the truth.
                if (history := await self._reconcile(prompt_id)) is not None:
                    return _judge(history, handler.error, nodes)
                continue
            match message:
                case None:
                    raise await self._crashed()
                case messages.Finished(finished) if finished == prompt_id:
                    return _judge(await self._history(prompt_id), handler.error, nodes)
                case _:
                    await handler.handle(message)

    async def _history(self, prompt_id: str) -> History:
        history = await self._comfyui.client.history(prompt_id)
        if history is None:
            raise ComfyUIError("ComfyUI says that the prompt is over but has no history of it.")
        return history

    async def clean_up(self, job: Job) -> None:
        """Removes the run's collected files and its history in ComfyUI. Can wait until the run is reported."""
        with contextlib.suppress(OSError):
            await asyncio.to_thread(removal.remove_tree, self._collect_dir / job.lease)
        with contextlib.suppress(ComfyUIError):
            await self._comfyui.client.delete_history(job.prompt_id)

    async def _reconcile(self, prompt_id: str) -> History | None:
        client = self._comfyui.client
        history = await client.history(prompt_id)
        if history is None and not await client.is_queued(prompt_id):
            # It may have finished between the two questions.
            history = await client.history(prompt_id)
            if history is None:
                raise ComfyUIError("ComfyUI lost the prompt: it is neither queued nor finished.")
        return history

    async def _crashed(self) -> ComfyUICrashed:
        process = self._comfyui.process
        if not process.is_running:
            return ComfyUICrashed(f"ComfyUI ended during the run (exit status {await process.exited()}).")
        self._comfyui.kill()
        return ComfyUICrashed("ComfyUI closed its websocket during the run.")

    async def _interrupt(self, prompt_id: str, following: asyncio.Task[History]) -> None:
        """Stops the prompt. Kills ComfyUI if it does not stop, since another run waits for it."""
        waited = 0.0
        while waited < INTERRUPT_GRACE_S:
            try:
                # Again and again: ComfyUI clears the flag when a prompt starts.
                await self._comfyui.client.interrupt(prompt_id)
                if not await self._comfyui.client.is_queued(prompt_id):
                    return
            except ComfyUIError:
                return
            done, _ = await asyncio.wait({following}, timeout=INTERRUPT_AGAIN_S)
            if done:
                return
            waited += INTERRUPT_AGAIN_S
        log.warning("ComfyUI does not stop; killing it", extra={"action": "comfyui_killed"})
        self._comfyui.kill()


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
        case ComfyUICrashed():
            return EndReason.COMFYUI_CRASHED, FailureReport(error.message)
        case UnreadableAnswer():  # it would be the same again
            return EndReason.NODE_ERROR, FailureReport(error.message)
        case _:
            return EndReason.INTERNAL, FailureReport(error.message)


def _timed_out(timeout_s: float) -> Failed:
    return Failed(EndReason.TIMEOUT, FailureReport(f"The run took longer than its timeout of {timeout_s:g} s."))


def _take_files(base: Path, left: Path) -> None:
    """Moves the contents of output/ and temp/ away, so that the next run starts with empty folders."""
    for name in ("output", "temp"):
        with beneath.opened(base, [name]) as opened:
            if entries := os.listdir(opened):
                (left / name).mkdir(parents=True, exist_ok=True)
            for entry in entries:
                removal.make_movable(entry, opened)
                os.rename(entry, left / name / entry, src_dir_fd=opened)


def _drain(queue: asyncio.Queue[Any]) -> None:
    """Discards messages of earlier prompts; the mark of a broken websocket (None) stays."""
    broken = False
    while not queue.empty():
        broken = queue.get_nowait() is None or broken
    if broken:
        queue.put_nowait(None)


def _ms_since(began: float) -> int:
    return max(1, round((time.monotonic() - began) * 1000))
