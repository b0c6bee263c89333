"""The JSON that v1 answers with, for its description: `shapes` and the handlers make it, field by field.

Fields that ComfyICU's runs and workflows have and comfyward does not use are always null, false, zero or empty.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from comfyward.runs.run import EndReason, PublicStatus, State
from comfyward.workflows.offer import Confidence, Origin


class Created(BaseModel):
    id: str


class RunData(BaseModel):
    prompt: dict[str, Any] = Field(description="The graph in ComfyUI's API format.")
    extra_data: dict[str, Any]
    accelerator: str | None


class OutputFile(BaseModel):
    filename: str
    url: str = Field(description="A signed link, which needs no key.")
    thumbnail_url: str | None
    size: int
    content_type: str
    digest: str
    node_id: str | None
    text: str | None = Field(None, description="The content of a small text. Absent for other files.")
    partial: Literal[True] | None = Field(None, description="True for an output of a run that did not succeed.")


class ComfyUIError(BaseModel):
    exception_type: str | None
    exception_message: str | None
    prompt_id: str
    traceback: list[str]
    node_id: str | None
    node_type: str | None
    details: dict[str, Any]


class FailedOutput(BaseModel):
    """`output` of a run that failed, as ComfyICU shows it."""

    error: ComfyUIError
    output: dict[Literal["error"], ComfyUIError]


class RunError(BaseModel):
    """The reason of a failure, and what to do about it."""

    code: EndReason | None
    message: str | None
    hint: str | None
    node_id: str | None
    node_type: str | None
    exception_type: str | None
    traceback: list[str]
    node_errors: dict[str, Any]
    details: dict[str, Any]


class Run(BaseModel):
    id: str
    workflow_id: str
    name: None
    kind: Literal["comfyui"]
    status: PublicStatus
    run_time: int | None = Field(description="Milliseconds of execution.")
    device: str | None
    accelerator: str | None
    retry_count: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime
    deleted_at: datetime | None
    data: RunData
    workflow: None
    workflow_api: None
    files: dict[str, str | dict[str, Any]]
    error: RunError | None
    output: list[OutputFile] | FailedOutput
    outputs: list[OutputFile] = Field(description="The outputs so far, of failed runs too.")
    tags: list[str]
    view_count: int
    download_count: int
    is_nsfw: bool
    visibility: Literal["PRIVATE"]
    parent_workflow_id: None
    parent_run_id: None
    api_key_id: str | None
    client_agent: None
    webhook: str | None
    project_id: None
    user_id: str
    user: None
    metadata: dict[str, Any] | None
    end_reason: EndReason | None
    pool: str | None
    environment: str = Field(description="Its ComfyUI: `default`, or the name of an environment, or a revision of it.")
    environment_revision: int | None = Field(description="The revision that executes it. Null for the default one.")
    attempt: int
    worker_id: str | None
    priority: int
    timeout: float | None
    cancel_requested_at: datetime | None
    queue_time: int | None = Field(description="Milliseconds from the creation of the run to its start.")
    prompt_id: str


class Placement(BaseModel):
    id: str
    state: State
    pool: str | None
    worker: str | None
    attempt: int
    place: int | None = Field(description="In the queue, from 1. Null for a run that is not queued.")
    waits_for: str | None
    reason: str | None
    expected_start_at: datetime | None


class Workflow(BaseModel):
    id: str
    name: str
    description: str | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    tags: list[str]
    is_nsfw: bool
    visibility: Literal["PRIVATE", "PUBLIC"]
    user_id: str
    current_run_id: str | None
    models: None
    accelerator: str | None
    environment: str = Field(description="Of its runs: `default`, `NAME` (its current revision), or `NAME@REVISION`.")
    project_id: None
    featuredImages: list[Any]
    is_default: bool
    in_trials: bool = Field(description="Trials of revisions of its environment repeat its last good run.")
    parent_workflow_id: str | None
    prompt: dict[str, Any] | None = Field(description="The saved graph in ComfyUI's API format.")


class File(BaseModel):
    path: str
    digest: str
    size: int
    content_type: str
    created_at: datetime


class Import(BaseModel):
    id: str
    path: str
    url: str
    state: str
    done: int
    total: int | None
    error: str | None
    created_at: datetime


class Accelerator(BaseModel):
    name: str
    aliases: list[str]
    stands_in_for: list[str] = Field(description="Accelerators that are not here, whose runs this one takes.")
    device: str | None
    workers: int
    credits_per_second: float


class Pack(BaseModel):
    """A pack that has a node class, or ComfyUI itself."""

    pack: str
    source: str | None = Field(description="The pack as `comfyward environments add` takes it.")
    comfyui: str | None = Field(description="The versions of ComfyUI that have the class, such as >=0.18.2.")
    origin: Origin = Field(alias="from", description="Where the answer comes from.")
    confidence: Confidence
    command: str | None = Field(description="The command that adds the pack to an environment.")


class Packs(BaseModel):
    class_type: str
    packs: list[Pack] = Field(description="The best first.")
    message: str | None = Field(description="What to do if no pack is known; else null.")


class Node(BaseModel):
    name: str
    display_name: str | None
    category: str | None
    description: str | None
    output_node: bool | None
    python_module: str | None


class PackTrial(BaseModel):
    folder: str
    imported: bool
    error: str = ""
    classes: list[str] = []
    seconds: float = 0


class AtHost(BaseModel):
    """A revision at a worker's host."""

    host: str
    worker: str
    pool: str
    target: str
    is_present: bool
    state: Literal["building", "trying", "ready", "failed"]
    step: str
    part: float | None
    message: str
    hint: str
    changed_at: datetime
    classes: int
    start_s: float
    packs: list[PackTrial]


class PackScripts(BaseModel):
    """The web files of a pack, for ComfyUI's editor, and the scripts among them."""

    pack: str
    is_allowed: bool = Field(description="True if the spec of the revision has `web = true` for the pack.")
    scripts: int
    script_bytes: int
    files: int
    bytes: int


class Rehearsal(BaseModel):
    """A workflow's last good run, repeated in a revision that is tried."""

    workflow: str
    name: str
    owner: str
    state: Literal["waiting", "running", "same", "different", "failed", "skipped"]
    message: str
    difference: float | None = Field(description="Of pictures, on average: 0 (equal) to 1.")
    former_run: str | None
    run: str | None


class Revision(BaseModel):
    revision: str
    number: int
    state: Literal["locked", "building", "trying", "failed", "ready", "current"]
    is_current: bool
    digest: str
    targets: dict[str, str] = Field(description="Digests by target, such as linux-x86_64/py3.11.")
    created_at: datetime
    asked_at: datetime | None = Field(description="When an admin asked that workers try it.")
    hosts: list[AtHost]
    scripts: list[PackScripts] | None = Field(
        description="By pack. Null before a worker has tried the revision, in lists for older ones than the last 10."
    )
    rehearsals: list[Rehearsal] = Field(description="Of the workflows that are part of its trial (`in_trials`).")


class Change(BaseModel):
    """Something that is added (`before` is null), removed (`after` is null), or changed."""

    kind: Literal["comfyui", "pack", "web", "package", "script"] = Field(
        description="`web`: its scripts are allowed in the editor."
    )
    name: str
    before: str | None
    after: str | None


class InputChange(BaseModel):
    """An input of a node class that is added (`before` is null), removed (`after` is null), or of another type."""

    class_type: str
    input: str
    before: str | None = Field(description="Its type, such as INT, or `INT, optional`.")
    after: str | None


class ClassChanges(BaseModel):
    gained: list[str]
    lost: list[str]
    inputs: list[InputChange] = Field(description="Of classes that both have.")


class ConcernedWorkflow(BaseModel):
    """A saved workflow, of any account, that uses classes that are lost, or whose inputs change."""

    id: str
    name: str
    owner: str
    lost: list[str]
    changed: list[str]


class Difference(BaseModel):
    """The changes of a revision."""

    before: str | None = Field(description="The revision with which it is compared. Null: all that it has is new.")
    after: str
    changes: list[Change]
    classes: ClassChanges | None = Field(description="Null before workers have had both ready.")
    workflows: list[ConcernedWorkflow] = Field(description="Of those that follow the environment.")
    knows_scripts: bool = Field(description="True once a worker has tried both: their scripts are among the changes.")


class OfferedComfyUI(BaseModel):
    version: str
    source: str = Field(description="As in a spec.")


class Locking(BaseModel):
    """The making of a revision by the server. `message` says why it failed."""

    id: str
    environment: str
    kind: Literal["lock", "relock", "update"] = Field(description="`relock` looks for newer packages and commits.")
    then: Literal["try", "promote"] | None = Field(description="What follows: a trial, or one and a promotion.")
    state: Literal["waiting", "locking", "proposed", "done", "failed", "cancelled"]
    step: str
    part: float | None
    message: str
    hint: str
    revision: int | None = Field(description="The revision that was made, or the newest if nothing has changed.")
    is_new: bool = Field(description="True if the revision was made for this locking.")
    changes: list[Change] = Field(description="Since the newest revision before. Of an update, what it would change.")
    offers: list[OfferedComfyUI] = Field(description="Of an update: newer releases of ComfyUI that it does not have.")
    notes: list[str] = Field(description="Of an update: what could not be asked, and stays.")
    created_at: datetime
    finished_at: datetime | None


class NamedEnvironment(BaseModel):
    name: str
    current: int | None = Field(description="The revision that runs get. Null before one was promoted.")


class Environment(NamedEnvironment):
    """Members see the name and the current revision only."""

    comfyui: str | None = None
    packs: list[str] | None = None
    is_changed: bool | None = Field(None, description="True if the spec was changed since the newest revision.")
    auto_promote: bool | None = Field(None, description="Revisions become current once their trials are good.")
    former: list[int] | None = Field(None, description="The revisions that were current before, the last one last.")
    revisions: list[Revision] | None = None
    locking: Locking | None = Field(None, description="The last one, which may be unfinished.")
    warnings: list[str] | None = Field(
        None,
        description="Of a promotion: pools whose workers cannot have it, and what saved workflows lose, in sentences.",
    )


class Imported(BaseModel):
    """An environment that was made of a file, and what the file holds that it does not have, with the reasons."""

    environment: Environment
    lost: list[str]


class StorageUse(BaseModel):
    used: int
    limit: int | None


class Storage(BaseModel):
    """In bytes, but `uploads`: a number of unfinished uploads. `unfinished` is what was announced for them."""

    inputs: StorageUse
    models: StorageUse
    outputs: StorageUse
    unfinished: StorageUse
    uploads: StorageUse


class NamedAccount(BaseModel):
    id: str
    name: str
    role: str


class AccountStorage(BaseModel):
    id: str
    name: str
    storage: Storage
    own_limits: dict[str, int] = Field(description="The limits that an admin gave this account alone; 0: any amount.")


class Account(BaseModel):
    id: str
    name: str
    role: str
    api_key_id: str | None
    credit_limit: float | None
    credits_used: float
    storage: Storage
    created_at: datetime


class Used(BaseModel):
    runs: int
    gpu_ms: int
    credits: float


class UsageRow(Used):
    """The usage of one group, which is named by one of the first four fields."""

    day: str | None = None
    accelerator: str | None = None
    workflow: str | None = None
    key: str | None = None


class Usage(BaseModel):
    since: str
    until: str
    by: Literal["day", "accelerator", "workflow", "key"]
    rows: list[UsageRow]
    total: Used


class WebhookSecret(BaseModel):
    secret: str


class Delivery(BaseModel):
    id: str
    run_id: str
    event: str
    state: str
    attempts: int
    url: str
    last_status: int | None
    last_answer: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None


class Resent(BaseModel):
    id: str
    state: Literal["pending"]
