"""The bodies of ComfyUI's API, for its description (source: ComfyUI's server.py, app/ and comfy_execution/jobs.py).

Forms that ComfyUI leaves open, such as the results of nodes, are objects of anything.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

AnyObject = dict[str, Any]
Milliseconds = Annotated[int, Field(description="Milliseconds since 1970.")]
Flag = Literal["true", "false"]


class PromptRequest(BaseModel):
    """A graph, with the options of ComfyUI."""

    prompt: AnyObject = Field(description="A graph in ComfyUI's API format.")
    prompt_id: str | None = Field(None, description="The run's name; one is made if it is absent.")
    client_id: str | None = Field(None, description="The websocket that gets the messages.")
    extra_data: AnyObject | None = None
    front: bool = False
    number: float | None = Field(None, description="Negative: in front of other runs.")
    partial_execution_targets: list[str] | None = Field(None, description="The ids of the only outputs to execute.")


class PromptAnswer(BaseModel):
    prompt_id: str
    number: int
    node_errors: AnyObject


class ExecInfo(BaseModel):
    queue_remaining: int


class Remaining(BaseModel):
    exec_info: ExecInfo


QueueItem = tuple[int, str, AnyObject, AnyObject, list[str]]


class QueueState(BaseModel):
    """Items of [number, prompt_id, prompt, extra_data, ids of output nodes]."""

    queue_running: list[QueueItem]
    queue_pending: list[QueueItem]


class QueueChange(BaseModel):
    clear: bool = False
    delete: list[str] | None = None


class InterruptRequest(BaseModel):
    prompt_id: str | None = None


class JobIds(BaseModel):
    job_ids: list[str]


class Cancelled(BaseModel):
    cancelled: bool


class HistoryQuery(BaseModel):
    max_items: int | None = None
    offset: int | None = Field(None, description="Counts from the oldest.")


class HistoryStatus(BaseModel):
    status_str: Literal["success", "error"]
    completed: bool
    messages: list[tuple[str, AnyObject]]


class HistoryEntry(BaseModel):
    """`outputs` and `meta` are by node."""

    prompt: QueueItem
    outputs: AnyObject
    status: HistoryStatus
    meta: AnyObject


class HistoryChange(BaseModel):
    clear: bool = False
    delete: list[str] | None = None


class JobQuery(BaseModel):
    status: str | None = Field(None, description="pending, in_progress, completed, failed, cancelled; with commas.")
    limit: int | None = None
    offset: int | None = None
    workflow_id: str | None = Field(None, description="As in jobs.")
    sort_by: Literal["created_at", "execution_duration"] = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"


class Job(BaseModel):
    """A run as a list shows it; unknown values are absent. Times are in milliseconds since 1970."""

    model_config = ConfigDict(extra="forbid")

    id: str
    status: Literal["pending", "in_progress", "completed", "failed", "cancelled"]
    priority: int
    create_time: Milliseconds
    execution_start_time: Milliseconds | None = None
    execution_end_time: Milliseconds | None = None
    execution_error: AnyObject | None = None
    outputs_count: int
    previewable_outputs_count: int
    preview_output: AnyObject | None = None
    workflow_id: str


class JobWorkflow(BaseModel):
    prompt: AnyObject
    extra_data: AnyObject


class JobDetail(Job):
    outputs: AnyObject
    execution_status: HistoryStatus | None
    workflow: JobWorkflow


class Pagination(BaseModel):
    offset: int
    limit: int
    total: int
    has_more: bool


class JobList(BaseModel):
    jobs: list[Job]
    pagination: Pagination


class CloudStatus(BaseModel):
    """The status of a job in Comfy Cloud's older API."""

    id: str
    status: Literal["pending", "in_progress", "completed", "error", "cancelled"]
    created_at: Milliseconds
    updated_at: Milliseconds
    error_message: str | None


class FileName(BaseModel):
    filename: str


class ViewQuery(BaseModel):
    filename: str
    subfolder: str = ""
    type: Literal["input", "output", "temp"] = "output"
    preview: str | None = Field(None, description="`webp` or `jpeg`, with `;QUALITY`.")
    channel: Literal["rgba", "rgb", "a"] = "rgba"


class ImageUpload(BaseModel):
    """A form with a file."""

    image: bytes
    subfolder: str = ""
    type: Literal["input", "output", "temp"] = "input"
    overwrite: str = ""


class MaskUpload(ImageUpload):
    original_ref: str = Field(description="The picture, as JSON of filename, subfolder and type.")


class UploadedFile(BaseModel):
    """The name may be another one, if that was taken."""

    name: str
    subfolder: str
    type: Literal["input", "output", "temp"]


class ModelFolder(BaseModel):
    name: str
    folders: list[str]


class ModelFile(BaseModel):
    """Sizes and times are not known, and 0."""

    name: str
    pathIndex: int
    modified: int
    created: int
    size: int


class Features(BaseModel):
    supports_preview_metadata: bool
    max_upload_size: int = Field(description="In bytes.")
    node_replacements: bool = Field(description="True: classes that ComfyUI has no more are replaced.")


class SystemInfo(BaseModel):
    """Sums over all hosts, in bytes."""

    os: str
    ram_total: int
    ram_free: int
    comfyui_version: str
    required_frontend_version: str
    installed_templates_version: str | None
    required_templates_version: str | None
    python_version: str
    pytorch_version: str
    embedded_python: bool
    argv: list[str]


class Device(BaseModel):
    """A worker. Memory is in bytes."""

    name: str
    type: str
    index: int
    vram_total: int
    vram_free: int
    torch_vram_total: int
    torch_vram_free: int


class SystemStats(BaseModel):
    system: SystemInfo
    devices: list[Device]


class TokenQuery(BaseModel):
    token: str | None = Field(None, description="An API key: the browser gets a session and comes back without it.")


class UserFilesQuery(BaseModel):
    dir: str = ""
    recurse: Flag = "false"
    full_info: Flag = "false"
    split: Flag = "false"


class FolderQuery(BaseModel):
    path: str = ""


class PutQuery(BaseModel):
    overwrite: Flag = "true"
    full_info: Flag = "false"


class UserFile(BaseModel):
    path: str
    size: int
    modified: Milliseconds
    created: Milliseconds


class UserEntry(BaseModel):
    """A folder has a name and a path only."""

    name: str
    path: str
    type: Literal["file", "directory"]
    size: int | None = None
    modified: float | None = Field(None, description="Seconds since 1970.")
    created: Milliseconds | None = None


class Users(BaseModel):
    storage: Literal["server"]
    migrated: bool


class TerminalSize(BaseModel):
    cols: int
    rows: int


class Logs(BaseModel):
    entries: list[AnyObject]
    size: TerminalSize


class ImportBegun(BaseModel):
    id: str


class Import(BaseModel):
    """A fetch of a model. Amounts are in bytes."""

    id: str
    state: str
    error: str | None
    done: int
    total: int | None


class PageQuery(BaseModel):
    limit: int | None = None
    offset: int | None = None


class EtnStatus(BaseModel):
    status: Literal["success", "cached"]
