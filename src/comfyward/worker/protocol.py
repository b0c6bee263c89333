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
    GET  environments/…      -> JSON            the lock of an environment that Orders asks for
    GET  environments/trees/…  -> zip           files of a pack or ComfyUI that only the server has, by digest
    PUT  environments/…/trial  Trial            what a built environment did when it was tried
    PUT  environments/…/web/…  archive          what its packs bring for the editor, by digest
    POST environments/…/learning  -> LearningOrder   a trial that learns, once for one worker
    PUT  environments/…/learned   Learned       what came of it
    POST goodbye    Goodbye                     a drained worker leaves

Servers and workers of adjacent protocol versions work together, so that they can be renewed one after the other.
Every write names a lease; 409 says that the lease is no longer the caller's. Every call of a process carries one secret
in SESSION_HEADER: what a session registered and got is its own, also among workers with one token. A worker of an
earlier version sends none, and a server of an earlier version passes it over.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from comfyward.runs.run import DEFAULT_ENVIRONMENT, EndReason
from comfyward.worker.environment_reports import MAX_REPORTS, EnvironmentReport
from comfyward.worker.message_bounds import MAX_IN_MEMORY, Bytes, Digest, Digests, FileName, Name, Number, Seconds, Text

PREFIX = "/worker/v1"
PROTOCOL = 3  # 2: outputs are reported at the end only
OLDEST_PROTOCOL = PROTOCOL - 1
LEASE_HEADER = "X-Comfyward-Lease"
SESSION_HEADER = "X-Comfyward-Session"
MIRROR_HEADER = "X-Comfyward-Mirror"


class WorkerInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The identity of a worker. `incarnation` is new in each life of the same id.

    `target` is what packages its host needs, such as linux-x86_64/py3.11; "" if it builds no environments. `ready` are
    the environments that were built and tried on its host, beside `environment`, with which it was started.
    """

    id: Name
    incarnation: Annotated[str, Meta(min_length=1, max_length=40)]
    pool: Name
    environment: Name
    device: Text
    host: Text
    sandbox: Annotated[str, Meta(max_length=40)]
    versions: Annotated[dict[Name, Text], Meta(max_length=20)]
    local: bool = False
    target: Annotated[str, Meta(max_length=60)] = ""
    ready: Digests = []


class Hello(msgspec.Struct, frozen=True):
    """`protocol` is the newest that the worker supports; a worker without the field supports the first."""

    worker: WorkerInfo
    catalog_digest: Digest
    protocol: int = 1


class Welcome(msgspec.Struct, frozen=True):
    lease_s: float
    wants_catalog: bool
    protocol: int = 1


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request for work. `holding` are the worker's leases: the server finds assignments that were lost on the way.

    `heard` is true if none was: the answer to the last request arrived. `account` is the one whose ComfyUI the worker
    has, "" if it has nobody's yet. `staging` are the accounts of the runs whose files it still fetches. `environment`
    is the one whose ComfyUI runs, "" for that with which the worker was started; `ready` are those it could start.
    `in_memory` are models that its host keeps in memory, by digest or, for the operator's own, by name.
    """

    worker_id: str
    incarnation: str
    idle: bool
    warm: list[str]
    holding: list[str]
    wait_s: Seconds
    heard: bool = False
    account: str = ""
    staging: list[str] = []
    environment: Annotated[str, Meta(max_length=64)] = ""
    ready: Digests = []
    in_memory: Annotated[list[FileName], Meta(max_length=MAX_IN_MEMORY)] = []


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


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt at a run. With `previews` the temporary files of nodes are uploaded too.

    It is executed by a ComfyUI that belongs to `account`, "" if all accounts share one, and is of `environment`.
    """

    run_id: str
    lease: str
    attempt: int
    prompt: msgspec.Raw
    extra_data: msgspec.Raw
    files: list[FileOrder]
    models: list[str]
    timeout_s: float
    previews: bool
    account: str = ""
    environment: str = DEFAULT_ENVIRONMENT


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


class ModelInMemory(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model that a worker's host keeps in memory, or is to.

    `name` is its digest or, for the operator's own, its name; `path` is where runs see it, below /models. Of `size`
    bytes `resident` are in memory; all of them `since` (ms since the epoch; 0: not all). `pinned`: the server wants it
    there; `problem` is what is in the way.
    """

    name: str
    path: str
    size: int = 0
    resident: int = 0
    since: int = 0
    pinned: bool = False
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        return 0 < self.size <= self.resident


class Vitals(msgspec.Struct, frozen=True):
    """The condition of a worker: models that ComfyUI has loaded, memory and cache in bytes, hits of the cache.

    `memory` is that of its host and device; None until ComfyUI answers. `limits` is what limits a ComfyUI: cgroups,
    or rlimits; "" if the worker does not say. `models` are those that the host keeps in memory, within
    `model_memory_bytes`.
    """

    warm: list[str] = []
    memory_bytes: int = 0
    cache_bytes: int = 0
    cache_limit_bytes: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    memory: Memory | None = None
    limits: str = ""
    models: list[ModelInMemory] = []
    model_memory_bytes: int = 0


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """`environments` are reports of those that have changed since the last heartbeat that was answered."""

    worker_id: str
    incarnation: str
    leases: list[str]
    wait_s: Seconds
    vitals: Vitals | None = None
    environments: Annotated[list[EnvironmentReport], Meta(max_length=MAX_REPORTS)] = []


class ModelOrder(msgspec.Struct, frozen=True):
    """A model to keep in memory: by its digest or, if that is "", the operator's own at a path below /models."""

    path: str
    digest: str = ""


class Orders(msgspec.Struct, frozen=True):
    """The server's orders: leases that are lost, leases of cancelled runs, drain, and a request for the log.

    Of the leases in `recall`, the runs that wait for the GPU are to be given back: another worker is idle.
    `environments` are to be built and tried here, in this order; they are repeated until they are reported as ready or
    failed. Of `learn` somebody is to learn, see LearningOrder. `models` are all that are pinned here.
    """

    lost: list[str] = []
    cancel: list[str] = []
    drain: bool = False
    log: bool = False
    environments: list[Digest] = []
    learn: list[Digest] = []
    models: list[ModelOrder] = []
    recall: list[str] = []


class Goodbye(msgspec.Struct, frozen=True):
    worker_id: str
    incarnation: str


class Downloading(msgspec.Struct, frozen=True, tag="downloading"):
    """Bytes of one file so far. `total` is None while the length is unknown."""

    path: str
    done: Bytes
    total: Bytes | None


class Started(msgspec.Struct, frozen=True, tag="started"):
    """ComfyUI has the run. Numbered."""

    seq: Number


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
    done: Number
    total: Number
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

    name: FileName
    digest: Digest
    size: Bytes
    content_type: Text
    node_id: str | None = None
    text: str | None = None
    streamed: bool = False
    data: bytes | None = None


class OutputOffer(msgspec.Struct, frozen=True):
    """An output to upload, or one that was uploaded.

    `asks_again`: the worker asks for another place if a server does not find the bytes where it put them. Servers of
    different versions look in different places; workers of earlier versions send outputs to the server.
    """

    name: FileName
    size: Bytes
    sha256: Digest
    asks_again: bool = False


class MirrorOffer(msgspec.Struct, frozen=True):
    """The contents of a URL. `asks_again` is as in OutputOffer."""

    digest: Digest
    sha256: Digest
    size: Bytes
    name: FileName
    asks_again: bool = False


class OutputPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """The place of an upload: `url` (a PUT with these headers, valid for an hour), the server, or none.

    `permit`, of a mirror, is sent back in MIRROR_HEADER with the bytes and when they are there.
    """

    is_there: bool = False
    url: str | None = None
    headers: dict[str, str] = {}
    permit: str = ""


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

    An output replaces an earlier one of the same name. `order` has the names of all outputs so far, unless it is
    the one in which they were reported.
    """

    seq: Number
    outputs: list[OutputFile] = []
    node_results: dict[str, Any] = msgspec.field(name="shown", default_factory=dict)
    previews: list[OutputFile] = []
    order: list[FileName] = []


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The attempt is over, and with it the lease. Numbered.

    `outputs` are those that were not reported before. `node_results` are for ComfyUI's history; `previews` are the
    temporary files among them, if the assignment asked for them. `order` is as in Produced.
    """

    seq: Number
    reason: EndReason
    outputs: list[OutputFile] = []
    node_results: dict[str, Any] = msgspec.field(name="shown", default_factory=dict)
    previews: list[OutputFile] = []
    failure: FailureReport | None = None
    run_time_ms: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    log: str = ""
    order: list[FileName] = []


class Released(msgspec.Struct, frozen=True, tag="released"):
    """A worker that drains, or from which a run is recalled, gives it back unstarted: the attempt does not count.

    Numbered.
    """

    seq: Number


Report = Downloading | Started | NodesCached | NodeProgress | PreviewFrame | Produced | Ended | Released
Numbered = Started | Produced | Ended | Released


class Reports(msgspec.Struct, frozen=True, omit_defaults=True):
    """Reports under a lease. `staged`: the run's files are here, and it waits for the GPU."""

    lease: str
    reports: list[Report]
    staged: bool = False
