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
    """The identity of a worker. `incarnation` is new in each life of the same id."""

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
    """`protocol` is the newest that the worker supports; a worker without the field supports the first."""

    worker: WorkerInfo
    catalog_digest: str
    protocol: int = 1


class Welcome(msgspec.Struct, frozen=True):
    lease_s: float
    wants_catalog: bool
    protocol: int = 1


class Ask(msgspec.Struct, frozen=True):
    """A request for work. `holding` are the worker's leases: the server finds assignments that were lost on the way.

    `heard` is true if none was: the answer to the last request arrived.
    """

    worker_id: str
    incarnation: str
    idle: bool
    warm: list[str]
    holding: list[str]
    wait_s: float
    heard: bool = False


class FileOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file to stage: from a URL, or (`blob`) from the object store.

    `mirror` is the digest of the URL's copy in the object store. With `keep` there is none yet, and the worker is asked
    to upload it.
    """

    path: str
    url: str | None = None
    digest: str | None = None
    headers: dict[str, str] = {}
    blob: str | None = None
    mirror: str | None = None
    keep: bool = False


class Assignment(msgspec.Struct, frozen=True):
    """One attempt at a run. With `previews` the temporary files of nodes are uploaded too."""

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
    """The memory of a host and its device according to ComfyUI's /system_stats, in bytes."""

    ram_total: int = 0
    ram_free: int = 0
    vram_total: int = 0
    vram_free: int = 0
    torch_vram_total: int = 0
    torch_vram_free: int = 0
    device_type: str = ""
    pytorch_version: str = ""


class Vitals(msgspec.Struct, frozen=True):
    """The condition of a worker: models that ComfyUI has loaded, memory and cache in bytes, hits of the cache.

    `memory` is that of its host and device; None until ComfyUI answers.
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
    """The server's orders: leases that are lost, leases of cancelled runs, drain, and a request for the log."""

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
    """A node starts (value 0), advances or is `finished`. `done` of `total` nodes of the graph are finished.

    `part` is the finished part of the graph, 0 to 1; it never falls. A node that was made at run time is shown as
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
    """One output. `data` holds its bytes (base64 on the wire) if they are few and were not uploaded before.

    A `streamed` output was not a file: its node sent it as a picture on ComfyUI's websocket.
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
    """An output to upload, or one that was uploaded."""

    name: str
    size: int
    sha256: str


class MirrorOffer(msgspec.Struct, frozen=True):
    """The contents of a URL."""

    digest: str
    sha256: str
    size: int
    name: str


class OutputPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """The place of an upload: `url` (a PUT with these headers, valid for an hour), the server, or none."""

    is_there: bool = False
    url: str | None = None
    headers: dict[str, str] = {}


class FailureReport(msgspec.Struct, frozen=True):
    """The failure of a run. The last three fields are from ComfyUI's error, beside the traceback."""

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
    """Results of finished nodes, while others go on: in the form of Ended. Numbered.

    An output replaces an earlier one of the same name.
    """

    seq: int
    outputs: list[OutputFile] = []
    node_results: dict[str, Any] = msgspec.field(name="shown", default_factory=dict)
    previews: list[OutputFile] = []


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The attempt is over, and with it the lease. Numbered.

    `outputs` are those that were not reported before. `node_results` are for ComfyUI's history; `previews` are the
    temporary files among them, if the assignment asked for them.
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
    """A draining worker gives back a run that it has not started: the attempt does not count. Numbered."""

    seq: int


Report = Downloading | Started | NodesCached | NodeProgress | PreviewFrame | Produced | Ended | Released
Numbered = Started | Produced | Ended | Released


class Reports(msgspec.Struct, frozen=True, omit_defaults=True):
    """Reports under a lease. `staged`: the run's files are here, and it waits for the GPU."""

    lease: str
    reports: list[Report]
    staged: bool = False
