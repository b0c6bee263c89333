"""A part of the protocol: trials that learn which files packs fetch, and what came of them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from comfyward.worker.message_bounds import Bytes, Digest, FileName, Message, Name, Text

MAX_FOUND, MAX_HOSTS = 500, 300
MAX_GRAPH = 1 << 20  # characters

Url = Annotated[str, Meta(max_length=4000)]


class LearningOrder(msgspec.Struct, frozen=True):
    """A trial in which ComfyUI may reach these hosts, and which executes a graph (JSON; "" for none)."""

    id: Name
    hosts: Annotated[list[Text], Meta(max_length=MAX_HOSTS)]
    graph: Annotated[str, Meta(max_length=MAX_GRAPH)] = ""


class FoundFile(msgspec.Struct, frozen=True):
    """A file that packs have made, at its place as in a spec. `url` is where the same is found; "" if that is unknown.

    The worker has fetched it from there, and compared.
    """

    path: FileName
    sha256: Digest
    size: Bytes
    url: Url = ""


class Learned(msgspec.Struct, frozen=True, omit_defaults=True):
    """The finds of a trial; the hosts that packs asked for, and did not reach; what went wrong, if anything did."""

    id: Name
    files: Annotated[list[FoundFile], Meta(max_length=MAX_FOUND)] = []
    refused: Annotated[list[Text], Meta(max_length=MAX_HOSTS)] = []
    message: Message = ""
