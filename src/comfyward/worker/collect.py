"""The third stage: what a run left is hashed and uploaded while the GPU works on the next one."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import blake3

from comfyward.files.digest import Hasher
from comfyward.runs.files import content_type_of
from comfyward.runs.run import EndReason
from comfyward.worker.execute import Executed
from comfyward.worker.job import Failed, Job
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import Ended, FailureReport, OutputFile, OutputOffer

MAX_OUTPUTS = 10_000
MAX_INLINE_TEXT = 64 << 10
MAX_ENCLOSED_BYTES = 1 << 20
MAX_PREVIEW_BYTES = 256 << 20
CHUNK_BYTES = 1 << 20


@dataclass
class _Room:
    """How many bytes may still travel inside the report."""

    left: int

    def takes(self, size: int) -> bool:
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


@dataclass(frozen=True)
class Collect:
    link: ServerLink

    async def collect(self, job: Job, executed: Executed) -> Ended:
        """Uploads everything under the run's output folder and its text results. Raises Failed, StaleLease."""
        history, room = executed.history, _Room(MAX_ENCLOSED_BYTES)
        texts = _write_texts(executed)
        nodes = _nodes_of_files(history.outputs, "output")
        outputs = [
            await self._output(job, path, name, nodes.get(name), texts, room) for path, name in _files(executed.folder)
        ]
        return Ended(
            0,
            EndReason.COMPLETED,
            outputs,
            shown={"outputs": history.outputs, "meta": history.meta},
            previews=await self._previews(job, executed, room) if job.assignment.previews else [],
            run_time_ms=executed.run_time_ms,
            log=executed.log,
        )

    async def _previews(self, job: Job, executed: Executed, room: _Room) -> list[OutputFile]:
        """The temporary files that nodes show, until they are too many bytes for something that is soon forgotten."""
        nodes, left = _nodes_of_files(executed.history.outputs, "temp"), MAX_PREVIEW_BYTES
        previews = []
        for path, name in _files(executed.temp):
            left -= path.stat().st_size if name in nodes else 0
            if name in nodes and left >= 0:
                previews.append(await self._output(job, path, name, nodes[name], {}, room))
        return previews

    async def _output(
        self, job: Job, path: Path, name: str, node_id: str | None, texts: dict[str, tuple[str, str]], room: _Room
    ) -> OutputFile:
        """A file that travels with the report while there is room, else one that is uploaded now."""
        size, data = path.stat().st_size, None
        if room.takes(size):
            data = _read(path)
            size, digest = len(data), blake3.blake3(data).hexdigest()
        else:
            hasher = await asyncio.to_thread(_hashed, path)
            digest = hasher.blake3
            await self.link.put_output(
                job.lease, digest, OutputOffer(name.rpartition("/")[2], size, hasher.sha256), path
            )
        text_node, text = texts.get(name, (None, None))
        content_type = content_type_of(name)
        shown = text if text is not None and len(text) <= MAX_INLINE_TEXT else None
        return OutputFile(name, digest, size, content_type, text_node or node_id, shown, data)


def _files(folder: Path) -> list[tuple[Path, str]]:
    """(path, name below output/) of every regular file. Links are left out: they may point anywhere on this host."""
    found = sorted(_walk(folder, folder))
    if len(found) > MAX_OUTPUTS:
        message = f"The run left {len(found)} files; at most {MAX_OUTPUTS} are kept."
        raise Failed(EndReason.OVER_LIMIT, FailureReport(message))
    return [(path, name) for name, path in found]


def _walk(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, root)
        elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            name = path.relative_to(root).as_posix()
            yield name.encode("utf-8", "replace").decode("utf-8"), path


def _open(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _read(path: Path) -> bytes:
    with _open(path) as file:
        return file.read()


def _hashed(path: Path) -> Hasher:
    hasher = Hasher()
    with _open(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return hasher


def _nodes_of_files(outputs: dict[str, Any], kind: str) -> dict[str, str]:
    """Which node wrote a file of a kind ("output", "temp"), as far as ComfyUI's history says."""
    nodes: dict[str, str] = {}
    for node_id, result in outputs.items():
        for item in _items(result):
            if isinstance(item, dict) and item.get("type") == kind and isinstance(item.get("filename"), str):
                folder = str(item.get("subfolder") or "").strip("/")
                nodes[f"{folder}/{item['filename']}" if folder else item["filename"]] = str(node_id)
    return nodes


def _items(result: object) -> Iterator[Any]:
    for value in result.values() if isinstance(result, dict) else ():
        if isinstance(value, list):
            yield from value


def _write_texts(executed: Executed) -> dict[str, tuple[str, str]]:
    """Text results become files like any other output: name -> (node, text)."""
    texts: dict[str, tuple[str, str]] = {}
    for node_id, result in executed.history.outputs.items():
        found = result.get("text") if isinstance(result, dict) else None
        lines = [found] if isinstance(found, str) else found
        if not isinstance(lines, list) or not lines or not all(isinstance(line, str) for line in lines):
            continue
        safe_id = "".join(character if character.isalnum() else "-" for character in str(node_id))
        name, text = f"text_{safe_id}.txt", "\n".join(lines)
        (executed.folder / name).write_text(text, encoding="utf-8")
        texts[name] = (str(node_id), text)
    return texts
