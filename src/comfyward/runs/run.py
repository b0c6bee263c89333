"""Runs: their states, the transitions between states, and the meaning of end reasons."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from comfyward.runs.failure import Failure
from comfyward.runs.output import Output


class State(StrEnum):
    """The state of a run. Each comment names the part that moves a run into it."""

    QUEUED = "queued"  # intake puts it here; recorder and maintenance put it back for another attempt
    ASSIGNED = "assigned"  # the assigner gives it to a worker, which fetches its files
    RUNNING = "running"  # recorder, when the worker says that ComfyUI has it
    SUCCEEDED = "succeeded"  # recorder; final
    FAILED = "failed"  # recorder, maintenance, or intake for an account out of credit; final
    CANCELLED = "cancelled"  # recorder, or intake for a run that was still queued; final

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATES

    def may_become(self, other: State) -> bool:
        return other in TRANSITIONS[self]


FINAL_STATES = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
LEASED_STATES = frozenset({State.ASSIGNED, State.RUNNING})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.ASSIGNED, State.FAILED, State.CANCELLED}),
    State.ASSIGNED: frozenset({State.RUNNING, State.QUEUED, *FINAL_STATES}),
    State.RUNNING: frozenset({State.QUEUED, *FINAL_STATES}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}


class EndReason(StrEnum):
    """The reason an attempt ended. The state, the retry decision and the public status follow from it."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    VALIDATION = "validation"
    MISSING_NODE = "missing_node"
    MISSING_MODEL = "missing_model"
    DOWNLOAD = "download"
    HOST_BUSY = "host_busy"
    NODE_ERROR = "node_error"
    OVER_LIMIT = "over_limit"
    INSUFFICIENT_CREDIT = "insufficient_credit"
    OOM = "oom"
    GPU_FAULT = "gpu_fault"
    COMFYUI_CRASHED = "comfyui_crashed"
    WORKER_LOST = "worker_lost"
    STORAGE_FULL = "storage_full"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Ending:
    """The meaning of an end reason."""

    state: State
    retryable: bool
    callers_fault: bool
    hint: str | None


_CALLER = {"retryable": False, "callers_fault": True}
_OURS = {"retryable": True, "callers_fault": False}

ENDINGS: dict[EndReason, Ending] = {
    EndReason.COMPLETED: Ending(State.SUCCEEDED, False, False, None),
    EndReason.CANCELLED: Ending(State.CANCELLED, False, True, None),
    EndReason.TIMEOUT: Ending(
        State.FAILED, hint="Set a larger 'timeout' (seconds), or make the graph do less.", **_CALLER
    ),
    EndReason.VALIDATION: Ending(State.FAILED, hint="See node_errors for the node and input to correct.", **_CALLER),
    EndReason.MISSING_NODE: Ending(
        State.FAILED, hint="Install the custom node that has this class, or replace the node.", **_CALLER
    ),
    EndReason.MISSING_MODEL: Ending(
        State.FAILED, hint='Add the file to \'files\', e.g. {"/models/loras/NAME": "https://…"}.', **_CALLER
    ),
    EndReason.DOWNLOAD: Ending(State.FAILED, hint="Check that the URL is public and answers with the file.", **_CALLER),
    EndReason.HOST_BUSY: Ending(
        State.FAILED,
        hint="The host of a file limits how often it may be asked: run it again later, or upload the file once.",
        **_OURS,
    ),
    EndReason.NODE_ERROR: Ending(
        State.FAILED, hint="See the traceback; the node's inputs are the usual cause.", **_CALLER
    ),
    EndReason.OVER_LIMIT: Ending(
        State.FAILED, hint="Use smaller files or less work, or ask the operator for a larger limit.", **_CALLER
    ),
    EndReason.INSUFFICIENT_CREDIT: Ending(State.FAILED, hint="Raise the account's credit limit.", **_CALLER),
    EndReason.OOM: Ending(State.FAILED, hint="Use a larger accelerator or a smaller image or batch.", **_OURS),
    EndReason.GPU_FAULT: Ending(State.FAILED, hint="The GPU failed; the worker restarted ComfyUI.", **_OURS),
    EndReason.COMFYUI_CRASHED: Ending(State.FAILED, hint="ComfyUI ended during the run; see the run's log.", **_OURS),
    EndReason.WORKER_LOST: Ending(State.FAILED, hint="The worker stopped answering; submit the run again.", **_OURS),
    EndReason.STORAGE_FULL: Ending(State.FAILED, hint="The worker's disk is full; tell the operator.", **_OURS),
    EndReason.INTERNAL: Ending(State.FAILED, hint="Tell the operator; the server's log has the details.", **_OURS),
}


def next_state(reason: EndReason, attempt: int, max_attempts: int, *, cancel_requested: bool) -> State:
    """The state after an attempt: queued if the reason is worth another attempt, else a final state.

    A run whose cancel was requested is never tried again.
    """
    ending = ENDINGS[reason]
    if reason is EndReason.COMPLETED:
        return State.SUCCEEDED
    if cancel_requested:
        return State.CANCELLED
    if ending.retryable and attempt < max_attempts_for(reason, max_attempts):
        return State.QUEUED
    return ending.state


def max_attempts_for(reason: EndReason, max_attempts: int) -> int:
    """The maximum number of attempts: two for a run that is out of memory, so that it can use a freed GPU."""
    return min(2, max_attempts) if reason is EndReason.OOM else max_attempts


class PublicStatus(StrEnum):
    """The `status` of ComfyICU's API (source: its examples and the values that its production users handle)."""

    QUEUED = "QUEUED"
    INIT = "INIT"
    STARTED = "STARTED"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    INSUFFICIENT_CREDIT = "INSUFFICIENT_CREDIT"


_PUBLIC = {
    State.QUEUED: PublicStatus.QUEUED,
    State.ASSIGNED: PublicStatus.INIT,
    State.RUNNING: PublicStatus.STARTED,
    State.SUCCEEDED: PublicStatus.COMPLETED,
    State.FAILED: PublicStatus.ERROR,
    State.CANCELLED: PublicStatus.ERROR,
}


def public_status(state: State, reason: EndReason | None) -> PublicStatus:
    """The status of a state. Clients stop only on COMPLETED or ERROR, so a cancelled run is an ERROR."""
    if reason is EndReason.INSUFFICIENT_CREDIT:
        return PublicStatus.INSUFFICIENT_CREDIT
    return _PUBLIC[state]


def states_of(status: PublicStatus) -> frozenset[State]:
    """The states that a public status stands for, for filters."""
    if status is PublicStatus.INSUFFICIENT_CREDIT:
        return frozenset({State.FAILED})
    return frozenset(state for state, public in _PUBLIC.items() if public is status)


DEFAULT_ENVIRONMENT = "default"
OUTPUT_BYTES = 500  # of an output, as it is shown


class Api(StrEnum):
    """The API through which a run was submitted."""

    ICU = "icu"  # /api/v1, ComfyICU's
    JOBS = "jobs"  # /api/v2, Comfy API v2
    NATIVE = "native"  # ComfyUI's own


@dataclass(frozen=True, kw_only=True)
class AcceptedRun:
    """A run as intake accepts it. Times are milliseconds since the epoch (UTC); JSON strings are stored as they were
    sent.

    `prompt_id` is its id in Comfy API v2 and in ComfyUI's API, unique in the account. `environment` is the key of its
    environment: `default`, or the digest of a lock.
    """

    id: str
    account_id: str
    workflow_id: str
    api_key_id: str | None
    prompt_id: str
    submitted_via: Api
    client_id: str | None
    accelerator: str
    pool: str
    fallback_pool: str | None = None  # a larger one, for a run that did not fit into the memory of its own
    environment: str
    environment_name: str = ""  # under which its environment was asked for; "" is the default one
    environment_revision: int = 0
    priority: int
    timeout_s: float
    max_attempts: int
    start_by: int | None = None  # it is not worth anything when it starts later
    prompt: str
    extra_data: str | None
    files: dict[str, dict[str, Any]]
    models: list[str]
    metadata: dict[str, Any]
    webhook: str | None
    tags: list[str]
    labels: dict[str, str]
    created_at: int
    has_secrets: int = 0  # 1: it came with keys for partner nodes, which some server has in its memory


@dataclass(frozen=True, kw_only=True)
class Run(AcceptedRun):
    """A run, as its row.

    `turn` is its place in the fair order of the queue. `node_results` are the results of nodes in ComfyUI's history;
    `previews` are the temporary files among them, which are stored for a short time and are no outputs.
    """

    state: State
    end_reason: EndReason | None
    turn: int
    attempt: int
    cancel_requested_at: int | None
    failure: Failure | None
    outputs: list[Output]
    node_results: str | None
    previews: list[Output]
    device: str | None
    run_time_ms: int | None
    credits_per_s: float = 0.0  # the price of its GPU time, fixed when its worker got it
    lease: str | None
    worker_id: str | None
    event_seq: int
    queued_at: int
    assigned_at: int | None
    staged_at: int | None = None  # its files are at the worker, where another run has the GPU
    started_at: int | None
    finished_at: int | None
    updated_at: int
    history_cleared_at: int | None
    deleted_at: int | None

    @property
    def environment_label(self) -> str:
        """Its environment with its revision, for logs and traces: "portraits@7", or "default"."""
        return f"{self.environment_alone}@{self.environment_revision}" if self.environment_name else DEFAULT_ENVIRONMENT

    @property
    def environment_alone(self) -> str:
        """The name of its environment without a revision, for metrics: "portraits", or "default"."""
        return self.environment_name.partition("@")[0] or DEFAULT_ENVIRONMENT

    @property
    def status(self) -> PublicStatus:
        return public_status(self.state, self.end_reason)

    @property
    def about_bytes(self) -> int:
        """About how much is to be written when it is shown."""
        texts = len(self.prompt) + len(self.extra_data or "") + len(self.node_results or "")
        return texts + OUTPUT_BYTES * (len(self.outputs) + len(self.previews))

    def file(self, kind: str, name: str) -> Output | None:
        """An output by its name in the run; a temporary file if `kind` is not "output"."""
        return self._by_name["output" if kind == "output" else "temp"].get(name)

    @functools.cached_property
    def _by_name(self) -> dict[str, dict[str, Output]]:
        """Its files by kind and name, of one name the first: a run may have thousands, each named by a result."""
        files = {"output": self.outputs, "temp": self.previews}
        return {kind: {each.name: each for each in reversed(found)} for kind, found in files.items()}
