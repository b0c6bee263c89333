"""A part of the protocol: what a worker says of environments that it was asked to build and try."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from comfyward.worker.message_bounds import Bytes, Digest, Message, Number, Seconds, Text

MAX_REPORTS = 50  # in a heartbeat
MAX_CLASSES = 5000  # of a pack
MAX_PICTURE_BYTES = 256 << 10
MAX_WRITES = 20  # files that are named


class EnvironmentState(StrEnum):
    """The state of an environment at a worker."""

    BUILDING = "building"
    TRYING = "trying"
    READY = "ready"
    FAILED = "failed"


class EnvironmentReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of an environment that the server asked for. `part` of `step` is done, 0 to 1; None: unknown."""

    digest: Digest
    state: EnvironmentState
    step: Text = ""
    part: Annotated[float, Meta(ge=0, le=1)] | None = None
    message: Message = ""
    hint: Message = ""


class PackTrial(msgspec.Struct, frozen=True, omit_defaults=True):
    """The import of a pack by ComfyUI: its classes, or its error, and the time that it took; and the number of files
    that it wrote in its own folder until the end of the trial, of which a few are named."""

    folder: Text
    imported: bool
    error: Message = ""
    classes: Annotated[list[Text], Meta(max_length=MAX_CLASSES)] = []
    seconds: Seconds = 0.0
    written: Number = 0
    writes: Annotated[list[Text], Meta(max_length=MAX_WRITES)] = []


class Trial(msgspec.Struct, frozen=True, omit_defaults=True):
    """The trial of an environment, started as for a run: `classes` counts all, `picture` is a PNG (base64).

    `written` is the number of files that packs wrote into ComfyUI's own source, of which `writes` names a few. `size`
    is that of the build on the host's disk, `own_size` what of it no other environment of the host shares, in bytes.
    """

    ready: bool
    packs: Annotated[list[PackTrial], Meta(max_length=500)] = []
    classes: Number = 0
    start_s: Seconds = 0.0
    picture: Annotated[bytes, Meta(max_length=MAX_PICTURE_BYTES)] | None = None
    message: Message = ""
    hint: Message = ""
    written: Number = 0
    writes: Annotated[list[Text], Meta(max_length=MAX_WRITES)] = []
    size: Bytes = 0
    own_size: Bytes = 0
