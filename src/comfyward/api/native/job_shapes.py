"""ComfyUI's JSON for jobs: each has one result that a gallery can show.

(Source: ComfyUI's comfy_execution/jobs.py.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from comfyward.api.native.shapes import (
    JOB_STATUS,
    ending_of,
    execution_status,
    extra_data_of,
    node_results_of,
    number_of,
    subfolder_of,
)
from comfyward.runs.run import Run, State

PREVIEWABLE = ("images", "video", "audio", "3d", "text")
MODEL_ENDINGS = (".obj", ".fbx", ".gltf", ".glb", ".usdz")
TEXT_ENDINGS = (".txt", ".md", ".json")
MAX_TEXT = 1024


@dataclass(frozen=True)
class _Result:
    """One result of a node: a file, or a text, which counts as no output."""

    node_id: str
    media: str
    item: Mapping[str, Any]

    @property
    def is_file(self) -> bool:
        return "filename" in self.item

    @property
    def rank(self) -> int | None:
        """The result of the lowest rank is shown. None if no gallery can show it."""
        name = str(self.item.get("filename", "")).lower()
        if self.media == "text" or name.endswith(TEXT_ENDINGS):
            return 2 if self.is_file else 3
        media_type = str(self.item.get("format") or "").partition("/")[0]
        if self.media in PREVIEWABLE or media_type in ("video", "audio") or name.endswith(MODEL_ENDINGS):
            return 0 if self.item.get("type") == "output" else 1
        return None

    def as_preview(self) -> dict[str, Any]:
        return {"mediaType": self.media, **self.item, "nodeId": self.node_id}


def job(run: Run) -> dict[str, Any]:
    """A run as lists show it. Unknown values are left out."""
    results = list(_results(run))
    shown = [result for result in results if result.rank is not None]
    preview = min(shown, key=lambda result: result.rank or 0, default=None)
    about = {
        "id": run.prompt_id,
        "status": JOB_STATUS[run.state],
        "priority": number_of(run),
        "create_time": run.created_at,
        "execution_start_time": run.started_at,
        "execution_end_time": run.finished_at,
        "execution_error": ending_of(run)[1] if run.state is State.FAILED else None,
        "outputs_count": sum(result.is_file for result in results),
        "previewable_outputs_count": sum(result.is_file for result in shown),
        "preview_output": preview.as_preview() if preview else None,
        "workflow_id": run.workflow_id,
    }
    return {name: value for name, value in about.items() if value is not None}


def job_detail(run: Run) -> dict[str, Any]:
    return {
        **job(run),
        "outputs": node_results_of(run)["outputs"],
        "execution_status": execution_status(run) if run.state.is_final else None,
        "workflow": {
            "prompt": msgspec.Raw(run.prompt.encode()),
            "extra_data": extra_data_of(run),
        },
    }


def _results(run: Run) -> Iterator[_Result]:
    for node_id, result in node_results_of(run)["outputs"].items():
        for media, items in result.items() if isinstance(result, Mapping) else ():
            for item in items if isinstance(items, list) else ():
                if (found := _shown(run, media, item)) is not None:
                    yield _Result(node_id, media, found)


def _shown(run: Run, media: str, item: Any) -> Mapping[str, Any] | None:
    """A result in the form that clients can show; None for settings, numbers and names of files that are gone."""
    match item:
        case {"filename": str()}:
            return dict(item)
        case str() if media == "text":
            return {"content": item[:MAX_TEXT], **({"truncated": True} if len(item) > MAX_TEXT else {})}
        case str() if item.lower().endswith(MODEL_ENDINGS) and run.file("output", item) is not None:
            folder, _, name = item.rpartition("/")
            return {"filename": name, "subfolder": subfolder_of(run.id, folder), "type": "output", "mediaType": "3d"}
        case _:
            return None
