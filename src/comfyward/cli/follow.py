"""The progress of a run on a terminal: bars for downloads and nodes, and previews if the terminal shows pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from comfyward.client import Client, Event, Run
from comfyward.runs.event import picture_of

# Values of TERM_PROGRAM of the terminals that show iTerm2's inline pictures.
PICTURE_TERMINALS = ("iTerm.app", "WezTerm", "vscode", "mintty")
PREVIEW_COLUMNS = 24


class Follow:
    """Shows runs on a console."""

    def __init__(self, console: Console, *, shows_pictures: bool) -> None:
        self._console, self._shows_pictures = console, shows_pictures

    def run(self, client: Client, run_id: str, classes: Mapping[str, str]) -> Run:
        """The run when it has finished. `classes` names the nodes, by their ids."""
        with self._progress() as progress:
            bars = _Bars(progress, classes)
            for event in client.follow(run_id):
                bars.show(event)
                if event.type == "preview" and self._shows_pictures:
                    self._console.file.write(picture(event.data["image"]))
        return client.get(run_id)

    def download(self, client: Client, run: Run, folder: Path) -> list[Path]:
        """Saves the outputs with a bar for each, and returns their paths."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            tasks: dict[str, TaskID] = {}

            def show(name: str, done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = progress.add_task(name, total=total)
                progress.update(tasks[name], completed=done, total=total)

            return client.download(run, folder, show)

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self._console)


class _Bars:
    """One bar for the run, one for each download, and one for each node, hidden at its end if it had a single step."""

    def __init__(self, progress: Progress, classes: Mapping[str, str]) -> None:
        self._progress, self._classes = progress, classes
        self._run = progress.add_task("waiting", total=None)
        self._downloads: dict[str, TaskID] = {}
        self._nodes: dict[str, TaskID] = {}
        self._node: str | None = None

    def show(self, event: Event) -> None:
        data = event.data
        match event.type:
            case "status":
                self._status(data)
            case "download":
                self._progress.update(self._run, description="fetching files")
                self._download(data["path"], data["done"], data["total"])
            case "progress":
                self._step(data["node"], data["value"], data["max"])
                self._progress.update(self._run, total=1, completed=data["done"])
            case "staged":
                self._progress.update(self._run, description="waiting for GPU")
            case "cancelling":
                self._progress.update(self._run, description="cancelling")
            case _:
                return

    def _status(self, data: Mapping[str, Any]) -> None:
        labels = {"QUEUED": "waiting", "INIT": "starting", "STARTED": "running", "COMPLETED": "done"}
        label = labels.get(data["status"], str(data.get("end_reason") or data["status"]).replace("_", " "))
        is_retry = data["status"] == "QUEUED" and data.get("attempt")
        self._progress.update(self._run, description="retrying" if is_retry else label)
        if data["status"] == "COMPLETED":
            self._finish_node()
            self._progress.update(self._run, total=1, completed=1)

    def _download(self, path: str, done: int, total: int | None) -> None:
        if path not in self._downloads:
            self._downloads[path] = self._progress.add_task(path, total=total)
        self._progress.update(self._downloads[path], completed=done, total=total)

    def _step(self, node: str, value: float, maximum: float) -> None:
        if node != self._node:
            self._finish_node()
            self._node = node
        if node not in self._nodes:
            self._nodes[node] = self._progress.add_task(f"  {self._classes.get(node, node)}", total=maximum)
        self._progress.update(self._nodes[node], completed=value, total=maximum)

    def _finish_node(self) -> None:
        if self._node is None:
            return
        task = self._nodes[self._node]
        total = next(each.total for each in self._progress.tasks if each.id == task) or 1
        self._progress.update(task, completed=total, visible=total > 1)


def picture(data_url: str) -> str:
    """The escape sequence that shows a picture in one of PICTURE_TERMINALS."""
    data = base64.b64decode(picture_of(data_url)[1])
    encoded = base64.b64encode(data).decode()
    return f"\x1b]1337;File=inline=1;size={len(data)};width={PREVIEW_COLUMNS}:{encoded}\a\n"
