"""The third stage: the results of a run are hashed and uploaded while the GPU works on the next one.

It starts during the run: results of finished nodes are uploaded while others go on. A run that fails keeps its complete
files.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from comfyward.errors import ComfywardError, TooLarge
from comfyward.files.digest import Hasher
from comfyward.runs.run import EndReason
from comfyward.sandbox import leftovers
from comfyward.worker.attempt import Attempt, Executed, Failed
from comfyward.worker.complete_files import Stamp, files_of
from comfyward.worker.file_threads import FileThreads
from comfyward.worker.graph_progress import GraphProgress
from comfyward.worker.link import ServerLink
from comfyward.worker.node_results import bounded
from comfyward.worker.outputs import Outputs, Result, Spool
from comfyward.worker.places import Places
from comfyward.worker.protocol import Ended, FailureReport, OutputFile, Produced
from comfyward.worker.reporter import Make, Room
from comfyward.worker.result_files import Bounds, FoundFiles, ResultFile, copied, found_in, read_in, take
from comfyward.worker.result_names import ResultNames, texts_of
from comfyward.worker.result_order import ResultOrder
from comfyward.worker.unless import unless
from comfyward.workflows.graph import in_order

log = logging.getLogger(__name__)

MAX_PREVIEW_BYTES = 256 << 20
MAX_NODE_CHARACTERS = 1000  # of the id that each result of a node is stored with
SALVAGE_S = 120.0
MAX_EARLY = 1000  # files that are reported at a time while others are written
MAX_REPORTED = 500  # results in one report: the server stores each in its database
LATER_S = 0.05  # a run that is over within it is reported in one piece


@dataclass(frozen=True)
class Tools:
    """The parts that all runs of a worker share. `bounds` are the most that a run may leave."""

    link: ServerLink
    bounds: Bounds
    threads: FileThreads


class Collect:
    """`kept` is the folder for files of runs that are collected; `leftovers` is emptied by others."""

    def __init__(self, link: ServerLink, kept: Path, leftovers: Path, bounds: Bounds) -> None:
        self._kept, self._leftovers, self._tools = kept, leftovers, Tools(link, bounds, FileThreads())

    def begin(self, attempt: Attempt, base: Path, places: Places) -> Gathering:
        """Gathers the results of a run from now on, until `finish`. `base` is the folder of its ComfyUI."""
        left = self._kept / attempt.lease
        with contextlib.suppress(OSError):  # what is to be written into it says so
            left.mkdir(parents=True, exist_ok=True)  # here alone: a thread that comes after `forget` makes it no more
        return Gathering(self._tools, attempt, base, left, places)

    async def forget(self, attempt: Attempt) -> None:
        """Removes the files of a run that is reported."""
        with contextlib.suppress(OSError):
            await asyncio.to_thread(leftovers.set_aside, self._kept / attempt.lease, self._leftovers)


class Gathering:
    """The results of one run. `progress` says which are complete. Of the graph's `nodes` only the ids are read.

    Everything is written to `left`, which no node can open. What is over the bounds is left out, and `_excess` says so.
    """

    def __init__(self, tools: Tools, attempt: Attempt, base: Path, left: Path, places: Places) -> None:
        self._tools, self._attempt, self._base, self.left, self._places = tools, attempt, base, left, places
        self._threads = tools.threads
        self.nodes = msgspec.json.decode(attempt.assignment.prompt, type=dict[str, msgspec.Raw])
        self._order = ResultOrder(in_order(msgspec.json.decode(attempt.assignment.prompt)))
        self.progress = GraphProgress(self.nodes)
        self._names, self._numbers = ResultNames(), itertools.count(1)
        self._spool = Spool(left)
        self._outputs = Outputs(tools.link, tools.threads, attempt.lease, self._spool)
        self._reported: dict[tuple[str, str], Stamp] = {}  # by folder and name
        self._shown: set[str] = set()  # nodes of which it was reported
        self._preview_bytes_left = MAX_PREVIEW_BYTES
        self._early_bytes = self._early_results = 0
        self._excess: str | None = None
        self._spoiled: Ended | None = None  # by a file that changed while it was taken
        self._busy, self._more = asyncio.Lock(), asyncio.Event()
        self._keeping_up = asyncio.create_task(self._keep_up(), name="keep-up")

    def more(self) -> None:
        """Reports that a node has finished."""
        self._more.set()

    async def picture(self, node: str, content_type: str, data: bytes) -> None:
        """Reports a result that was sent as a message.

        Clients of ComfyUI assign it to the last node that they know of, so later events are reported after it.
        """
        number = next(self._numbers)
        if not self._has_room(len(data)):
            return
        suffix = "_.png" if content_type == "image/png" else "_.jpg"
        name = self._names.name("websocket", node, f"{number:05}", suffix=suffix, of=number)
        path = await self._threads.call(self._spool.new, data)

        async def make(room: Room) -> Produced:
            return Produced(0, [await self._output(Result(name, node, len(data), number, streamed=True), path, room)])

        self._attempt.reporter.produced(make)

    async def finish(self, executed: Executed) -> Ended:
        """Uploads the remaining results of a run that succeeded. Raises StaleLease."""
        self.progress.recall(executed.history.outputs, executed.history.meta)
        ended = Ended(0, EndReason.COMPLETED, run_time_ms=executed.run_time_ms, log=executed.log)
        return await self._with_rest(ended, is_all_whole=True)

    async def salvage(self, ended: Ended) -> Ended:
        """Uploads the complete results of a run that did not succeed. Raises StaleLease."""
        return await self._with_rest(ended, is_all_whole=False)

    def drop(self) -> None:
        """Stops gathering."""
        self._keeping_up.cancel()

    async def _with_rest(self, ended: Ended, *, is_all_whole: bool) -> Ended:
        """The end with the rest of the results; without them if the run is cancelled or lost meanwhile, or if those of
        a cancelled run take too long."""
        if self._attempt.halt:
            try:
                async with asyncio.timeout(SALVAGE_S):
                    return await self._rest(ended, is_all_whole=is_all_whole)
            except TimeoutError:
                return ended
        rest = self._rest(ended, is_all_whole=is_all_whole)
        return await unless(rest, self._attempt.halt) or msgspec.structs.replace(ended, reason=EndReason.CANCELLED)

    async def _rest(self, ended: Ended, *, is_all_whole: bool) -> Ended:
        async with self._busy:  # what is being uploaded is reported before the rest
            self._keeping_up.cancel()
        progress, room = self.progress, Room()
        rest = await self._threads.call(self._taken_rest, is_all_whole, room)
        outputs, room = await self._files(rest.outputs, room)
        names = {file.name for file in rest.found.files}
        texts = self._texts(progress.node_results, names)[: self._tools.bounds.entries]
        ended = msgspec.structs.replace(
            ended,
            outputs=[*outputs, *[await self._output(text, text.data, room) for text in texts]],
            node_results=bounded(progress.node_results, progress.meta),
            previews=[await self._output(shot, path, room) for shot, path in rest.previews],
            order=self._order.names(progress.node_results),
        )
        return self._judged(ended, rest.found.excess) if is_all_whole else ended

    def _judged(self, ended: Ended, excess: str | None) -> Ended:
        """The end of a run that ComfyUI calls a success; a failure if not all of its results could be taken."""
        if excess := self._excess or excess:
            return msgspec.structs.replace(ended, reason=EndReason.OVER_LIMIT, failure=FailureReport(excess))
        if self._spoiled is not None:
            return msgspec.structs.replace(ended, reason=self._spoiled.reason, failure=self._spoiled.failure)
        return ended

    async def _files(
        self, files: Iterable[tuple[ResultFile, Path | bytes]], room: Room
    ) -> tuple[list[OutputFile], Room]:
        """The last outputs, and the room that is left beside them; many are reported in several parts."""
        nodes = files_of(self.progress.node_results, "output")
        outputs: list[OutputFile] = []
        for file, source in files:
            data = source if isinstance(source, bytes) else None
            result = Result(self._named(file.name, file.parts), nodes.get(file.name), file.size, file.name)
            try:
                outputs.append(await self._output(result, source, room, data=data))
            except TooLarge as error:
                self._excess = error.message
            except Failed as failed:
                self._spoiled = failed.ended
            if len(outputs) == MAX_REPORTED:
                self._attempt.reporter.produced(_ready(Produced(0, outputs)))
                outputs, room = [], Room()
        return outputs, room

    def _taken_rest(self, is_all_whole: bool, room: Room) -> _Rest:
        """All that was not reported yet, in one trip to a thread: small files are read where they are, the others moved
        to a folder that no node has open."""
        progress, found = self.progress, self._found("output")
        whole = [file for file in found.files if is_all_whole or progress.is_whole(file.name, file.stamp)]
        outputs = []
        for file in whole:
            if not self._is_new("output", file.name, file.stamp):
                continue
            data = read_in(self.left / "output", file) if room.takes(file.size) else None
            source = self._taken("output", file) if data is None else data
            if source is not None:
                outputs.append((file, source))
        return _Rest(found, outputs, list(self._rest_of_previews()))

    def _rest_of_previews(self) -> Iterator[tuple[Result, Path]]:
        """The temporary files of nodes, if the assignment asks for them."""
        nodes = files_of(self.progress.node_results, "temp") if self._attempt.assignment.previews else {}
        for file in self._found("temp").files if nodes else ():
            is_new = file.name in nodes and self._is_new("temp", file.name, file.stamp)
            if is_new and self._may_be_previewed(file.stamp) and (path := self._taken("temp", file)) is not None:
                yield Result(file.name, nodes[file.name], file.size), path

    def _found(self, kind: str) -> FoundFiles:
        folder = self.left / kind
        return found_in(folder, self._tools.bounds) if folder.is_dir() else FoundFiles()

    def _named(self, name: str, parts: tuple[str, ...]) -> str:
        """The name of a file, made different from that of any other result."""
        stem, suffix = posixpath.splitext(name)
        return self._names.unique(stem, suffix, of=parts)

    def _taken(self, kind: str, file: ResultFile) -> Path | None:
        """A file moved to a folder that no node has open."""
        path = self._spool.new()
        return path if take(file, self.left / kind, path) else None

    async def _keep_up(self) -> None:
        await self._threads.call(self._make_room)  # now, while ComfyUI works: at the end somebody waits for it
        while True:
            await self._more.wait()
            await asyncio.sleep(LATER_S)
            self._more.clear()
            async with self._busy:
                try:
                    await self._report_whole()
                except (ComfywardError, OSError) as error:
                    log.warning("outputs are reported at the end: %s", error, extra={"action": "outputs_later"})
                    return

    async def _report_whole(self) -> None:
        """Reports the results that are complete and were not reported yet."""
        progress, room = self.progress, Room()
        node_results = {node: result for node, result in progress.node_results.items() if node not in self._shown}
        files = await self._early_files(node_results, room)
        names = files_of(progress.node_results, "output")
        texts = [await self._output(text, text.data, room) for text in self._texts(node_results, names)]
        self._shown.update(node_results)
        self._reported.update({(each.kind, each.name): each.stamp for each in files})
        outputs = [*(each.output for each in files if each.kind == "output"), *texts]
        if outputs or node_results:
            meta = {node: about for node, about in progress.meta.items() if node in node_results}
            shown = self._places.within(bounded(node_results, meta))
            previews = [each.output for each in files if each.kind == "temp"]
            produced = Produced(0, outputs, shown, previews, self._order.names(progress.node_results))
            self._attempt.reporter.produced(_ready(produced))

    async def _early_files(self, node_results: Mapping[str, Any], room: Room) -> list[_Early]:
        """The new, complete outputs, and, if the assignment asks for them, the temporary files in new node results."""
        whole = self.progress.whole().items()
        wanted = [name for name, stamp in whole if not stamp or self._is_new("output", name, stamp)]
        nodes = files_of(self.progress.node_results, "output")
        taken = [await self._early("output", name, nodes.get(name), room) for name in wanted[:MAX_EARLY]]
        if self._attempt.assignment.previews:
            shots = itertools.islice(files_of(node_results, "temp").items(), MAX_EARLY)
            taken += [await self._early("temp", name, node, room) for name, node in shots]
        return [each for each in taken if each is not None]

    async def _early(self, kind: str, name: str, node: str | None, room: Room) -> _Early | None:
        """A new, complete file of a finished node, while others go on; None if there is none."""
        target = await self._threads.call(self._spool.new)
        taken = await self._threads.take(copied(self._base / kind, name, target, self._tools.bounds))
        if taken is None or not self._is_new(kind, name, taken.stamp):
            return None
        if not (self._may_be_previewed(taken.stamp) if kind == "temp" else self._has_room(taken.stamp[0])):
            return None
        reported = self._named(name, tuple(name.split("/"))) if kind == "output" else name
        listed = name if kind == "output" else None
        result = Result(reported, node, taken.stamp[0], listed)
        output = await self._output(result, taken.path, room, taken.hasher)
        await self._threads.call(taken.path.unlink)
        return _Early(kind, name, output, taken.stamp)

    async def _output(
        self,
        result: Result,
        source: Path | bytes,
        room: Room,
        hasher: Hasher | None = None,
        data: bytes | None = None,
    ) -> OutputFile:
        """The output of a result, in its place among the others. Raises as `Outputs.add`."""
        node = self.progress.real(result.node)
        if result.listed is not None:
            self._order.add(result.name, result.node, node, result.listed)
        result = replace(result, node=None if node is None or len(node) > MAX_NODE_CHARACTERS else node)
        return await self._outputs.add(result, source, room, hasher, data)

    def _texts(self, node_results: Mapping[str, Any], files: Collection[str]) -> list[Result]:
        """The texts of nodes as output files, unless they are the names of files."""
        texts = []
        for node, key, lines in texts_of(node_results):
            name = self._names.name(key, node, suffix=".txt", of=(key, node))
            text = self._places.named("\n".join(lines))
            stamp = (len(text), hash(text))
            if self._is_new("text", name, stamp) and not all(line in files for line in lines):
                self._reported["text", name] = stamp
                texts.append(Result(name, node, len(text.encode()), (node, key), text))
        return texts

    def _is_new(self, kind: str, name: str, stamp: Stamp) -> bool:
        return self._reported.get((kind, name)) != stamp

    def _has_room(self, size: int) -> bool:
        """Counts a result that is reported before the end. Returns False once they are over the bounds."""
        bounds = self._tools.bounds
        self._early_bytes, self._early_results = self._early_bytes + size, self._early_results + 1
        if self._early_bytes <= bounds.bytes and self._early_results <= bounds.entries:
            return True
        self._excess = "The run made too many results, or too large ones."
        return False

    def _may_be_previewed(self, stamp: Stamp) -> bool:
        """True until the previews of the run are too large."""
        self._preview_bytes_left -= stamp[0]
        return self._preview_bytes_left >= 0

    def _make_room(self) -> None:
        with contextlib.suppress(OSError):  # it is tried again at the end
            (self.left / "output").mkdir(exist_ok=True)


@dataclass(frozen=True)
class _Rest:
    """The files below output/ at the end of a run; those to report, as bytes if these fit; and previews."""

    found: FoundFiles
    outputs: list[tuple[ResultFile, Path | bytes]]
    previews: list[tuple[Result, Path]]


@dataclass(frozen=True)
class _Early:
    kind: str
    name: str
    output: OutputFile
    stamp: Stamp


def _ready(produced: Produced) -> Make:
    async def make(_: Room) -> Produced:
        return produced

    return make
