"""The bodies of Comfy API v2, for its description (source: docs.comfy.org/openapi-v2.yaml)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from comfyward.api import leniency
from comfyward.api.paging import InvalidCursor, moment_of
from comfyward.errors import InvalidRequest

MIN_LIFETIME_S, MAX_LIFETIME_S = 60, 604_800
MAX_PAGE = 100
DEFAULT_PAGE = 50

JobStatus = Literal["queued", "running", "succeeded", "canceling", "canceled", "failed"]
OutputType = Literal["image", "video", "audio", "text", "file", "latent"]


class UnknownCursor(InvalidRequest):
    code = "invalid_cursor"


class ExtraData(BaseModel):
    """The credentials of partner nodes, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    api_key_comfy_org: str = ""
    auth_token_comfy_org: str = ""


class JobRequest(leniency.Request):
    workflow: Any = Field(None, description="A graph, in ComfyUI's API format or as its editor saves it.")
    extra_data: ExtraData | None = None
    metadata: Any = Field(None, description="Labels of the job: an object of strings.")
    webhook_url: Any = Field(None, description="Reserved: must be absent.")
    inputs: Any = Field(None, description="Reserved: must be absent.")


class JobQuery(BaseModel):
    """The parameters of a list of jobs; `metadata[KEY]=VALUE` selects those with a label."""

    limit: int = Field(DEFAULT_PAGE, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(None, description="The `next_cursor` of the page before.")

    def before(self) -> tuple[int, str] | None:
        """The place in the list after which the page begins. Raises UnknownCursor."""
        try:
            return None if self.cursor is None else moment_of(self.cursor)
        except InvalidCursor as error:
            raise UnknownCursor("Invalid cursor.") from error


class JobUrls(BaseModel):
    self: str
    events: str
    cancel: str


class Progress(BaseModel):
    """A complete snapshot. `value` is the fraction of the whole job."""

    value: float = Field(ge=0, le=1)
    nodes_done: int
    nodes_total: int
    current_node: str | None = None
    current_node_class: str | None = None
    step: int | None = None
    steps: int | None = None
    message: str | None = None


class Output(BaseModel):
    """A file that a job has made. It is an asset, of the same `id`."""

    node_id: str
    name: str
    type: OutputType
    content_type: str
    size_bytes: int
    id: str
    hash: str = Field(description="`blake3:` and 64 hex digits.")
    url: str = Field(description="Opens without a key until `url_expires_at`.")
    url_expires_at: datetime
    job_id: str


class JobError(BaseModel):
    """The reason why a job failed."""

    code: str
    message: str
    node_id: str | None
    class_type: str | None
    traceback: str | None


class JobMetrics(BaseModel):
    """In milliseconds; null until known."""

    queue_ms: int | None
    execution_ms: int | None


class Job(BaseModel):
    """One execution of a workflow."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime
    queue_position: int | None = Field(description="From 1; at most 1001, also for a job that is further back.")
    progress: Progress | None
    outputs: list[Output]
    error: JobError | None
    metrics: JobMetrics
    metadata: dict[str, str]
    urls: JobUrls


class ListedJob(BaseModel):
    id: str
    status: JobStatus
    create_time: datetime
    update_time: datetime
    deployment_id: None
    metadata: dict[str, str]


class JobList(BaseModel):
    """A page, newest first. `next_cursor` is null on the last one."""

    jobs: list[ListedJob]
    next_cursor: str | None


class JobWorkflow(BaseModel):
    """The graph that a job executes."""

    workflow: dict[str, Any]
    format: Literal["api"]


class AssetUpload(BaseModel):
    """The fields of a form with a file."""

    file: bytes
    content_type: str
    file_path: str = Field(description="Such as `photo.png`, `input/photo.png` or `models/checkpoints/x.safetensors`.")
    expected_hash: str | None = Field(None, description="`blake3:` and 64 hex digits.")
    expires_in: int | None = Field(None, ge=MIN_LIFETIME_S, le=MAX_LIFETIME_S, description="In seconds.")


class HashRequest(leniency.Request):
    hash: str
    file_path: str | None = None
    tags: list[str] = Field(default_factory=list)
    expires_in: int | None = Field(None, ge=MIN_LIFETIME_S, le=MAX_LIFETIME_S)


class Asset(BaseModel):
    """A file of the account."""

    id: str
    hash: str = Field(description="`blake3:` and 64 hex digits.")
    size_bytes: int
    content_type: str
    file_path: str
    created_at: datetime
    url: str = Field(description="Opens without a key until `url_expires_at`.")
    url_expires_at: datetime
    expires_at: datetime | None
    job_id: str | None
    created_new: bool | None = Field(None, description="In answers to uploads: false if the bytes were here already.")


class LinkQuery(BaseModel):
    """The parameters of a signed link, which needs no key."""

    expires: str | None = None
    sig: str | None = None


class Health(BaseModel):
    status: Literal["healthy"]
    version: str
