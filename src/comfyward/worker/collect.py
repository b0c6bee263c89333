"""The third stage: the results of a run are hashed and uploaded while the GPU works on the next one.

It starts during the run: results of finished nodes are uploaded while others go on. A run that fails keeps its complete
files.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import blake3
import msgspec

from comfyward.errors import ComfywardError
from comfyward.files.digest import Hasher
from comfyward.ids import new_id
from comfyward.runs.files import content_type_of
from comfyward.runs.run import EndReason
from comfyward.worker.graph_progress import GraphProgress, Stamp, files_of
from comfyward.worker.job import Executed, Job
from comfyward.worker.link import ServerLink
from comfyward.worker.places import Places
from comfyward.worker.protocol import Ended, FailureReport, OutputFile, OutputOffer, Produced
from comfyward.worker.reporter import Room
from comfyward.worker.result_files import ResultFile, copy, found_in, hashed, read, take
from comfyward.worker.result_names import ResultNames, texts_of

log = logging.getLogger(__name__)

MAX_OUTPUTS = 10_000
MAX_INLINE_TEXT = 64 << 10
MAX_PREVIEW_BYTES = 256 << 20
MAX_SHOWN_BYTES = 16 << 20
LATER_S = 0.05  # a run that is over within it is reported in one piece


class Collect:
    """`base` is ComfyUI's folder, `kept` the folder for files of runs that are collected."""

    def __init__(self, link: ServerLink, base: Path, kept: Path) -> None:
        self._link, self._base, self._kept = link, base, kept

    def begin(self, job: Job, places: Places) -> Gathering:
        """Gathers the results of a run from now on, until `finish`."""
        return Gathering(self._link, job, self._base, self._kept / job.lease, places)


class Gathering:
    """The results of one run. `progress` says which are complete. Of the graph's `nodes` only the ids are read."""

    def __init__(self, link: ServerLink, job: Job, base: Path, left: Path, places: Places) -> None:
        self._link, self._job, self._base, self.left, self._places = link, job, base, left, places
        self.nodes = msgspec.json.decode(job.assignment.prompt, type=dict[str, msgspec.Raw])
        self.progress = GraphProgress(self.nodes)
        self._names, self._numbers = ResultNames(), itertools.count(1)
        self._reported: dict[tuple[str, str], Stamp] = {}  # by folder and name
        self._shown: set[str] = set()  # nodes of which it was reported
        self._preview_bytes_left = MAX_PREVIEW_BYTES
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
        suffix = "_.png" if content_type == "image/png" else "_.jpg"
        name = self._names.name("websocket", node, f"{number:05}", suffix=suffix, of=number)
        path = self._spool()
        await asyncio.to_thread(path.write_bytes, data)

        async def make(room: Room) -> Produced:
            return Produced(0, [await self._output(_Result(name, node, streamed=True), path, room)])

        self._job.reporter.produced(make)

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
        async with self._busy:  # what is being uploaded is reported before the rest
            self._keeping_up.cancel()
        progress, room = self.progress, Room()
        files = [
            file for file in found_in(self.left / "output") if is_all_whole or progress.is_whole(file.name, file.stamp)
        ]
        nodes = files_of(progress.node_results, "output")
        rest = [file for file in files[:MAX_OUTPUTS] if self._is_new("output", file.name, file.stamp)]
        taken = [(file, path) for file in rest if (path := self._taken("output", file)) is not None]
        outputs = [await self._output(_Result(file.name, nodes.get(file.name)), path, room) for file, path in taken]
        names = {file.name for file in files}
        outputs += [await self._output(text, text.data, room) for text in self._texts(progress.node_results, names)]
        previews = [await self._output(shot, path, room) for shot, path in self._rest_of_previews()]
        node_results = _bounded(progress.node_results, progress.meta)
        ended = msgspec.structs.replace(ended, outputs=outputs, node_results=node_results, previews=previews)
        if is_all_whole and len(files) > MAX_OUTPUTS:
            failure = FailureReport(f"The run left {len(files)} files; at most {MAX_OUTPUTS} are kept.")
            return msgspec.structs.replace(ended, reason=EndReason.OVER_LIMIT, failure=failure)
        return ended

    def _rest_of_previews(self) -> Iterator[tuple[_Result, Path]]:
        """The temporary files of nodes, if the assignment asks for them."""
        nodes = files_of(self.progress.node_results, "temp") if self._job.assignment.previews else {}
        for file in found_in(self.left / "temp") if nodes else ():
            is_new = file.name in nodes and self._is_new("temp", file.name, file.stamp)
            if is_new and self._may_be_previewed(file.stamp) and (path := self._taken("temp", file)) is not None:
                yield _Result(file.name, nodes[file.name]), path

    def _taken(self, kind: str, file: ResultFile) -> Path | None:
        """A file moved to a folder that no node has open."""
        path = self._spool()
        return path if take(file, self.left / kind, path) else None

    async def _keep_up(self) -> None:
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
        nodes, shots = files_of(progress.node_results, "output"), files_of(node_results, "temp")
        wanted = [name for name, stamp in progress.whole().items() if not stamp or self._is_new("output", name, stamp)]
        taken = [await self._early("output", name, nodes.get(name), room) for name in wanted]
        if self._job.assignment.previews:
            taken += [await self._early("temp", name, node, room) for name, node in shots.items()]
        texts = [await self._output(text, text.data, room) for text in self._texts(node_results, nodes)]
        files = [each for each in taken if each is not None]
        self._shown.update(node_results)
        self._reported.update({(each.kind, each.output.name): each.stamp for each in files})
        outputs = [*(each.output for each in files if each.kind == "output"), *texts]
        previews = [each.output for each in files if each.kind == "temp"]
        if outputs or node_results:
            meta = {node: about for node, about in progress.meta.items() if node in node_results}
            produced = Produced(0, outputs, self._places.within(_bounded(node_results, meta)), previews)
            self._job.reporter.produced(lambda _: _ready(produced))

    async def _early(self, kind: str, name: str, node: str | None, room: Room) -> _Early | None:
        """A new, complete file of a finished node, while others go on; None if there is none."""
        taken = await asyncio.to_thread(copy, self._base / kind, name, self._spool())
        if taken is None or not self._is_new(kind, name, taken.stamp):
            return None
        if kind == "temp" and not self._may_be_previewed(taken.stamp):
            return None
        output = await self._output(_Result(name, node), taken.path, room, taken.hasher)
        taken.path.unlink(missing_ok=True)
        return _Early(kind, output, taken.stamp)

    async def _output(
        self, result: _Result, source: Path | bytes, room: Room, hasher: Hasher | None = None
    ) -> OutputFile:
        """Adds an output to the report if there is room, else uploads it now."""
        result = replace(result, node=self.progress.real(result.node))
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if room.takes(size):
            data = source if isinstance(source, bytes) else read(source)
            return result.reported(blake3.blake3(data).hexdigest(), len(data), data)
        path = source if isinstance(source, Path) else self._spool(source)
        digests = hasher if hasher is not None else await asyncio.to_thread(hashed, path)
        offer = OutputOffer(result.name.rpartition("/")[2], size, digests.sha256)
        await self._link.put_output(self._job.lease, digests.blake3, offer, path)
        return result.reported(digests.blake3, size)

    def _texts(self, node_results: Mapping[str, Any], files: Collection[str]) -> list[_Result]:
        """The texts of nodes as output files, unless they are the names of files."""
        texts = []
        for node, key, lines in texts_of(node_results):
            name = self._names.name(key, node, suffix=".txt", of=(key, node))
            text = self._places.named("\n".join(lines))
            stamp = (len(text), hash(text))
            if self._is_new("text", name, stamp) and not all(line in files for line in lines):
                self._reported["text", name] = stamp
                texts.append(_Result(name, node, text))
        return texts

    def _is_new(self, kind: str, name: str, stamp: Stamp) -> bool:
        return self._reported.get((kind, name)) != stamp

    def _may_be_previewed(self, stamp: Stamp) -> bool:
        """True until the previews of the run are too large."""
        self._preview_bytes_left -= stamp[0]
        return self._preview_bytes_left >= 0

    def _spool(self, data: bytes | None = None) -> Path:
        """A new file in a folder that no node can write to."""
        self.left.mkdir(parents=True, exist_ok=True)
        path = self.left / new_id()
        if data is not None:
            path.write_bytes(data)
        return path


@dataclass(frozen=True)
class _Result:
    """A result that is about to be reported."""

    name: str
    node: str | None
    text: str | None = None
    streamed: bool = False

    @property
    def data(self) -> bytes:
        return (self.text or "").encode()

    def reported(self, digest: str, size: int, data: bytes | None = None) -> OutputFile:
        text = self.text if self.text is not None and len(self.text) <= MAX_INLINE_TEXT else None
        kind = content_type_of(self.name)
        return OutputFile(self.name, digest, size, kind, self.node, text, streamed=self.streamed, data=data)


@dataclass(frozen=True)
class _Early:
    kind: str
    output: OutputFile
    stamp: Stamp


async def _ready(produced: Produced) -> Produced:
    return produced


def _bounded(node_results: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    """The node results for the history. A node with too much keeps only its files."""
    room, outputs = Room(MAX_SHOWN_BYTES), dict[str, Any]()
    for node, result in node_results.items():
        outputs[node] = result if room.takes(len(msgspec.json.encode(result))) else _only_files(result)
    return {"outputs": outputs, "meta": dict(meta)}


def _only_files(result: Mapping[str, Any]) -> dict[str, Any]:
    lists = {key: values for key, values in result.items() if isinstance(values, list)}
    return {
        key: files for key, values in lists.items() if (files := [each for each in values if isinstance(each, dict)])
    }
