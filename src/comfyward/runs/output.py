"""The output files of a run, in the form of its row and of its events."""

from __future__ import annotations

import msgspec


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output or preview: its bytes by digest, and its text if it is a short one.

    A `streamed` output was not a file: its node sent it as a picture on ComfyUI's websocket.
    """

    id: str
    name: str
    digest: str
    size: int
    content_type: str
    node_id: str | None = None
    text: str | None = None
    streamed: bool = False
