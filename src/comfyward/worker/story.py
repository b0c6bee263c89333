"""What ComfyUI says of one run, passed on: to the course that is kept of it, and to the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comfyward.comfy import messages
from comfyward.worker.collect import Gathering
from comfyward.worker.job import Job
from comfyward.worker.protocol import NodeProgress


class Story:
    """`error` is what ComfyUI said that a node failed with."""

    def __init__(self, job: Job, gathering: Gathering) -> None:
        self._job, self._gathering, self._course = job, gathering, gathering.course
        self.error: Mapping[str, Any] | None = None

    async def hear(self, message: messages.Message | None) -> None:
        """Raises OSError when a picture cannot be kept."""
        course, reporter, ours = self._course, self._job.reporter, self._job.prompt_id
        match message:
            case messages.Cached(which, nodes) if which == ours:
                course.cached(nodes)
                reporter.cached(list(nodes))
            case messages.Executing(which) if which == ours:
                self._tell([course.begin(message)])
                self._gathering.more()
            case messages.NodeStates(which, states) if which == ours:
                self._tell(course.move(states))
            case messages.Progress(which, node, value, maximum) if which == ours:
                self._tell(course.step(node, value, maximum))
            case messages.Executed(which) if which == ours:
                course.finish(message)
                self._gathering.more()
            case messages.Failed(which, error) if which == ours:
                self.error = self.error or error
            case messages.Preview(which, node, content_type, data) if which in (None, ours):
                await self._show(node or course.current, content_type, data)
            case _:
                return

    def _tell(self, progress: Iterable[NodeProgress]) -> None:
        for each in progress:
            self._job.reporter.progress(each)

    async def _show(self, node: str | None, content_type: str, data: bytes) -> None:
        """A PNG that an output node sends is its result; other pictures show work in progress."""
        if node is not None and content_type == "image/png" and self._course.is_output.get(node):
            await self._gathering.picture(node, content_type, data)
        else:
            self._job.reporter.preview(node, content_type, data)
