"""The wire between a worker and the server: JSON over HTTP, closed unions, golden files in tests/contract.

    POST hello      Hello      -> Welcome       once per life of a worker
    PUT  catalog/…  JSON                        when Welcome asks for it
    POST lease      Ask        -> Assignment    held open until there is work (204 when there was none)
    POST heartbeat  Heartbeat  -> Orders        renews leases; held open until there is an order
    POST reports    Reports                     in order; those of a lease are numbered, a repeated one is passed over
    POST outputs/…  OutputOffer -> OutputPlace  where a large output goes, by digest, before the report that names it
    PUT  outputs/…  bytes                       the output itself, when it goes to the server
    POST outputs/…/stored  OutputOffer          the output is at the place that was given
    GET  blobs/…    bytes                       a stored input of an assigned run; may redirect to where it is stored
    POST mirrors/…  MirrorOffer -> OutputPlace  a model that was fetched from a URL (by its key) is offered to the store
    POST mirrors/…/stored  MirrorOffer          it is there
    PUT  log/…      text                        the end of the worker's log, when Orders asks for it
    POST goodbye    Goodbye                     a drained worker leaves

Servers and workers of adjacent protocol versions work together, so that they can be renewed one after the other.
Every write names a lease; 409 says that the lease is no longer the caller's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from comfyward.runs.run import EndReason

PREFIX = "/worker/v1"
PROTOCOL = 3  # 2: outputs are reported at the end only
OLDEST_PROTOCOL = PROTOCOL - 1
LEASE_HEADER = "X-Comfyward-Lease"


class WorkerInfo(msgspec.Struct, frozen=True):
    """Who a worker is. `incarnation` is new in each life of the same id."""

    id: str
    incarnation: str
    pool: str
    environment: str
    device: str
    host: str
    sandbox: str
    versions: dict[str, str]
    local: bool = False


class Hello(msgspec.Struct, frozen=True):
    """`protocol` is the newest that the worker speaks; a worker that does not say so speaks the first."""

    worker: WorkerInfo
    catalog_digest: str
    protocol: int = 1


class Welcome(msgspec.Struct, frozen=True):
    lease_s: float
    wants_catalog: bool
    protocol: int = 1


class Ask(msgspec.Struct, frozen=True):
    """A request for work. `holding` lets the server see an assignment whose answer was lost on the way.

    `heard` says that none was: the answer to this worker's last request has come.
    """

    worker_id: str
    incarnation: str
    idle: bool
    warm: list[str]
    holding: list[str]
    wait_s: float
    heard: bool = False


class FileOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file to stage: from a URL, or (`blob`) from the server's own store.

    `mirror` is what the store has of the URL; with `keep` it has nothing yet, and the worker is asked to bring it.
    """

    path: str
    url: str | None = None
    digest: str | None = None
    headers: dict[str, str] = {}
    blob: str | None = None
    mirror: str | None = None
    keep: bool = False


class Assignment(msgspec.Struct, frozen=True):
    """One attempt at one run. With `previews` the temporary files that nodes show are sent too."""

    run_id: str
    lease: str
    attempt: int
    prompt: msgspec.Raw
    extra_data: msgspec.Raw
    files: list[FileOrder]
    models: list[str]
    timeout_s: float
    previews: bool


class Memory(msgspec.Struct, frozen=True):
    """What ComfyUI's /system_stats says of its host and device, in bytes."""

    ram_total: int = 0
    ram_free: int = 0
    vram_total: int = 0
    vram_free: int = 0
    torch_vram_total: int = 0
    torch_vram_free: int = 0
    device_type: str = ""
    pytorch_version: str = ""


class Vitals(msgspec.Struct, frozen=True):
    """How a worker is: models that ComfyUI has loaded lately, memory and cache in bytes, how the cache serves it.

    `memory` is that of its host and device, None before ComfyUI has told.
    """

    warm: list[str] = []
    memory_bytes: int = 0
    cache_bytes: int = 0
    cache_limit_bytes: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    memory: Memory | None = None


class Heartbeat(msgspec.Struct, frozen=True):
    worker_id: str
    incarnation: str
    leases: list[str]
    wait_s: float
    vitals: Vitals | None = None


class Orders(msgspec.Struct, frozen=True):
    """What the server wants: leases that are lost, leases whose runs are cancelled, whether to leave, and the log."""

    lost: list[str] = []
    cancel: list[str] = []
    drain: bool = False
    log: bool = False


class Goodbye(msgspec.Struct, frozen=True):
    worker_id: str
    incarnation: str


class Downloading(msgspec.Struct, frozen=True, tag="downloading"):
    """Bytes of one file so far. `total` is None while the length is unknown."""

    path: str
    done: int
    total: int | None


class Started(msgspec.Struct, frozen=True, tag="started"):
    """ComfyUI has the run. Numbered."""

    seq: int


class NodesCached(msgspec.Struct, frozen=True, tag="cached"):
    """These nodes keep their results from an earlier run."""

    nodes: list[str]


class NodeProgress(msgspec.Struct, frozen=True, tag="progress", omit_defaults=True):
    """A node starts (value 0), moves on or has `finished`; `done` counts the graph's nodes that have, of `total`.

    `part` is how much of the graph is done, 0 to 1, and never falls. A node that was made at run time is shown as
    `display`, was made by `parent`, and is a part of `real`, a node of the graph.
    """

    node: str
    value: float
    maximum: float
    done: int
    total: int
    part: float | None = None
    finished: bool = False
    display: str | None = None
    parent: str | None = None
    real: str | None = None


class PreviewFrame(msgspec.Struct, frozen=True, tag="preview"):
    """A picture of work in progress; `data` is base64 on the wire."""

    node: str | None
    content_type: str
    data: bytes


class OutputFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output. `data` holds its bytes (base64 on the wire) when they are few and were not uploaded before.

    One that is `streamed` was no file: its node sent it as a picture on ComfyUI's websocket.
    """

    name: str
    digest: str
    size: int
    content_type: str
    node_id: str | None = None
    text: str | None = None
    streamed: bool = False
    data: bytes | None = None


class OutputOffer(msgspec.Struct, frozen=True):
    """An output that is about to be uploaded, or that was."""

    name: str
    size: int
    sha256: str


class MirrorOffer(msgspec.Struct, frozen=True):
    """What a URL had."""

    digest: str
    sha256: str
    size: int
    name: str


class OutputPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an output goes: to `url` (a PUT with these headers, good for an hour), to the server, or nowhere."""

    is_there: bool = False
    url: str | None = None
    headers: dict[str, str] = {}


class FailureReport(msgspec.Struct, frozen=True):
    """What went wrong. The last three are what ComfyUI's own error says of the nodes, beside the traceback."""

    message: str
    hint: str | None = None
    exception_type: str | None = None
    node_id: str | None = None
    node_type: str | None = None
    traceback: list[str] = []
    details: dict[str, Any] = {}
    executed: list[str] = []
    current_inputs: dict[str, Any] = {}
    current_outputs: list[str] = []


class Produced(msgspec.Struct, frozen=True, tag="produced", omit_defaults=True):
    """What nodes that have finished left, while others go on: in the form of Ended. Numbered.

    An output of a name that was reported before takes the former one's place.
    """

    seq: int
    outputs: list[OutputFile] = []
    node_results: dict[str, Any] = msgspec.field(name="shown", default_factory=dict)
    previews: list[OutputFile] = []


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The attempt is over, and with it the lease. Numbered.

    `outputs` are those that were not reported before. `node_results` is what ComfyUI's history has of each node,
    `previews` are the temporary files among it, where the assignment asked for them.
    """

    seq: int
    reason: EndReason
    outputs: list[OutputFile] = []
    node_results: dict[str, Any] = msgspec.field(name="shown", default_factory=dict)
    previews: list[OutputFile] = []
    failure: FailureReport | None = None
    run_time_ms: int | None = None
    log: str = ""


class Released(msgspec.Struct, frozen=True, tag="released"):
    """A draining worker gives a run back that it has not begun: the attempt does not count. Numbered."""

    seq: int


Report = Downloading | Started | NodesCached | NodeProgress | PreviewFrame | Produced | Ended | Released
Numbered = Started | Produced | Ended | Released


class Reports(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened under a lease. `staged` says that the run's files are here and that it waits for the GPU."""

    lease: str
    reports: list[Report]
    staged: bool = False
