"""Translates ComfyUI's messages about the run that has the GPU into progress, results and reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comfyward.comfy import messages
from comfyward.worker.attempt import Attempt
from comfyward.worker.collect import Gathering
from comfyward.worker.protocol import NodeProgress


class MessageHandler:
    """Handles the messages of one run. `error` is ComfyUI's message about the node that failed."""

    def __init__(self, attempt: Attempt, gathering: Gathering) -> None:
        self._attempt, self._gathering, self._progress = attempt, gathering, gathering.progress
        self.error: Mapping[str, Any] | None = None

    async def handle(self, message: messages.Message | None) -> None:
        """Ignores messages about other runs. Raises OSError if a picture cannot be stored."""
        progress, reporter, ours = self._progress, self._attempt.reporter, self._attempt.prompt_id
        match message:
            case messages.Cached(which, nodes) if which == ours:
                reporter.cached(progress.cached(nodes))
            case messages.Executing(which) if which == ours:
                self._report(progress.begin(message))
                self._gathering.more()
            case messages.NodeStates(which, states) if which == ours:
                self._report(progress.move(states))
            case messages.Progress(which, node, value, maximum) if which == ours:
                self._report(progress.step(node, value, maximum))
            case messages.Executed(which) if which == ours:
                progress.finish(message)
                self._gathering.more()
            case messages.Failed(which, error) if which == ours:
                self.error = self.error or error
            case messages.Preview(which, node, content_type, data) if which in (None, ours):
                await self._show(node if node in progress.nodes else progress.current, content_type, data)
            case _:
                return

    def _report(self, steps: Iterable[NodeProgress]) -> None:
        for each in steps:
            self._attempt.reporter.progress(each)

    async def _show(self, node: str | None, content_type: str, data: bytes) -> None:
        """Handles a picture: a PNG from an output node is a result, others show work in progress."""
        if node is not None and content_type == "image/png" and self._progress.is_output.get(node):
            await self._gathering.picture(node, content_type, data)
        else:
            self._attempt.reporter.preview(node, content_type, data)
