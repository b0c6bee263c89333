"""The largest requests that are read."""

from __future__ import annotations

from dataclasses import dataclass

from comfyward.settings import Settings
from comfyward.workflows.graph_limit import GraphLimit


@dataclass(frozen=True)
class RequestLimits:
    """`body` of JSON and `upload` of a file, in bytes; `graph` of a workflow or a run."""

    body: int
    upload: int
    graph: GraphLimit

    @classmethod
    def of(cls, settings: Settings) -> RequestLimits:
        return cls(settings.body_limit_bytes, settings.upload_limit_bytes, GraphLimit(settings.graph_limit_bytes))
