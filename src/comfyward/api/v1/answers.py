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


class WholeWorkflow(Workflow):
    workflow: dict[str, Any] | None = Field(description="The saved graph as ComfyUI's editor saves it.")


class CarriedGraphs(BaseModel):
    prompt: dict[str, Any] | None = Field(description="The graph in ComfyUI's API format: exact, to run it.")
    workflow: dict[str, Any] | None = Field(description="The graph as ComfyUI's editor saves it, to edit it.")
    remarks: list[str] = Field(description="What could not be carried over, in sentences.")


class Conversion(BaseModel):
    prompt: dict[str, Any] = Field(description="The graph in ComfyUI's API format.")


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


class StorageUse(BaseModel):
    used: int
    limit: int | None


class Secret(BaseModel):
    """A named secret, without its value, which is never shown."""

    name: str
    hosts: list[str] = Field(description="Where its value may be sent: nowhere else, and not after a redirect.")
    header: str = Field(description="The header that carries it. A bare value of Authorization is sent as a bearer's.")
    shared: bool = Field(description="True if an admin shares it with all accounts.")
    readable: bool = Field(description="False if the key that encrypted it is lost: store it again.")
    created_at: str
    last_used_at: str | None


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
