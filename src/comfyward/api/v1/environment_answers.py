"""The JSON that v1 answers with about environments, for its description: `environment_shapes` makes most of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PackTrial(BaseModel):
    folder: str
    imported: bool
    error: str = ""
    classes: list[str] = []
    seconds: float = 0
    written: int = Field(0, description="Files that it wrote in its own folder, from its import to the trial's end.")
    writes: list[str] = Field([], description="The first of them.")


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
    size: int = Field(description="Bytes of its build on the host's disk. 0 before a trial has told.")
    own_size: int = Field(description="Bytes of these that no other environment of the host shares.")
    written: int = Field(description="Files that packs wrote into ComfyUI's own source.")
    writes: list[str] = Field(description="The first of them.")


class PackScripts(BaseModel):
    """The web files of a pack, for ComfyUI's editor, and the scripts among them."""

    pack: str
    is_allowed: bool = Field(description="True if the spec of the revision has `web = true` for the pack.")
    scripts: int
    script_bytes: int
    files: int
    bytes: int


class MarkedWorkflow(BaseModel):
    """A workflow, of any account, that is part of an environment's trials."""

    workflow: str
    name: str
    owner: str


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
    can_be_tried: bool = Field(description="True if a present worker builds environments for one of its targets.")
    absent_pools: list[str] = Field(
        description="Pools that had such a worker in the last week, and have none at the moment."
    )
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


class EnvironmentFile(BaseModel):
    """A file at a place where packs look for it."""

    path: str
    url: str
    sha256: str = Field(description="Empty: it is pinned when the environment is locked.")
    size: int = Field(description="0: it is looked up when the environment is locked.")


class LearnedFile(BaseModel):
    """A file that packs have fetched, at its place as in a spec."""

    path: str
    url: str | None = Field(description="The same file is found there. Null: it is not known where it comes from.")
    sha256: str
    size: int


class Learning(BaseModel):
    """A trial of a revision in which packs may fetch files. `message` says what went wrong in it."""

    id: str
    environment: str
    revision: int
    state: Literal["waiting", "learning", "done", "failed", "cancelled"]
    worker: str | None
    message: str
    files: list[LearnedFile]
    refused: list[str] = Field(description="Hosts that packs asked for, and did not reach.")
    created_at: datetime
    finished_at: datetime | None


class NamedEnvironment(BaseModel):
    name: str
    current: int | None = Field(description="The revision that runs get. Null before one was promoted.")


class Environment(NamedEnvironment):
    """Members see the name and the current revision only."""

    comfyui: str | None = None
    packs: list[str] | None = None
    files: list[EnvironmentFile] | None = Field(None, description="Of the spec: files that packs want.")
    egress: list[str] | None = Field(None, description="Of the spec: hosts that its ComfyUI may reach.")
    is_changed: bool | None = Field(None, description="True if the spec was changed since the newest revision.")
    auto_promote: bool | None = Field(None, description="Revisions become current once their trials are good.")
    in_trials: list[MarkedWorkflow] | None = Field(None, description="Workflows that its trials repeat.")
    former: list[int] | None = Field(None, description="The revisions that were current before, the last one last.")
    revisions: list[Revision] | None = None
    locking: Locking | None = Field(None, description="The last one, which may be unfinished.")
    warnings: list[str] | None = Field(
        None,
        description="Of a promotion: pools whose workers cannot have it, and what saved workflows lose, in sentences.",
    )


class WantedPack(BaseModel):
    """A pack that has classes which a workflow lacks."""

    model_config = ConfigDict(populate_by_name=True)

    name: str
    source: str = Field(description="As in a spec.")
    origin: str = Field(alias="from", description="`workflow` is a stranger's word, the others are lists and tables.")
    confidence: Literal["certain", "likely", "possible"]
    classes: list[str]


class PackRequest(BaseModel):
    """An account's request that an admin adds the packs which its workflow wants."""

    id: str
    account: str
    workflow: str
    state: Literal["waiting", "accepted", "declined"]
    packs: list[WantedPack]
    comfyui: str | None = Field(description="The versions that its nodes need, such as `>=0.24.1`.")
    environment: str | None = Field(description="The one whose draft was made or extended for it.")
    reply: str = Field(description="An admin's words.")
    created_at: datetime
    decided_at: datetime | None


class Imported(BaseModel):
    """An environment that was made of a file, and what the file holds that it does not have, with the reasons."""

    environment: Environment
    lost: list[str]
