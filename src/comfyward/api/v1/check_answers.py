"""The JSON of checks and of what is got, for the description of v1: `workflows/check.py` makes most of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from comfyward.api.v1.answers import Pack


class NodePlace(BaseModel):
    id: str = Field(description="The node's id; in a subgraph a path such as 12:3.")
    title: str
    class_type: str
    input: str | None


class LackedClass(BaseModel):
    """A node class that the environment lacks."""

    class_type: str
    count: int
    nodes: list[NodePlace]
    packs: list[Pack] = Field(description="The packs, or versions of ComfyUI, that have it, the best first.")
    environments: list[str] = Field(description="Those that have it. Empty: none does.")


class LackedModel(BaseModel):
    """A model that neither the workers nor the account have."""

    name: str
    folder: str | None = Field(description="Below models/. Null if only the class knows it.")
    path: str | None = Field(description="Where runs would find it, such as /models/loras/style.safetensors.")
    nodes: list[NodePlace]
    url: str | None
    told_by: Literal["node", "note", "templates"] | None = Field(
        description="Who says so: the node that wants it, another place in the file, or ComfyUI's own templates."
    )
    sha256: str | None = Field(description="As the file tells it, or else the origin; an import must have the file's.")
    size: int | None = Field(description="In bytes. Null if the origin has not told it in time.")
    licence: str | None
    gated: bool | None = Field(description="True if its origin wants a token, or its licence accepted, first.")
    page: str | None = Field(description="Where a person reads the licence, and accepts it.")
    token: str | None = Field(description="The name of the secret that is sent to this site.")
    problem: str | None = Field(description="What its origin answered instead.")
    hint: str | None = Field(description="What to do about that.")
    import_: str | None = Field(alias="import", description="The import that fetches it already.")


class LackedInput(BaseModel):
    """A file of the account that is not uploaded."""

    name: str
    path: str | None
    nodes: list[NodePlace]


class EnvironmentLacks(BaseModel):
    name: str
    has_all: bool
    lacks: list[str] | None = Field(description="Node classes. Null before a worker has the environment.")


class OtherProblem(BaseModel):
    message: str
    node: NodePlace | None


class AcceleratorFit(BaseModel):
    name: str
    memory: int | None = Field(description="In bytes, of its smallest device. Null if no worker has told it.")
    fit: Literal["together", "in_turn", "too_large", "unknown"] = Field(
        description="All models at once; each, but not all; not even the largest; sizes or memory are not known."
    )


class Check(BaseModel):
    """The things that a workflow lacks in an environment."""

    runs: bool = Field(description="True if a run would be taken as it is.")
    format: Literal["editor", "api"]
    environment: str = Field(description="The environment that everything below is about.")
    best_environment: str | None = Field(description="The environment with all node classes, or with the most.")
    environments: list[EnvironmentLacks] = Field(description="Sorted by what they lack, the least first.")
    classes: list[LackedClass]
    models: list[LackedModel]
    inputs: list[LackedInput]
    problems: list[OtherProblem] = Field(description="Problems that remain once everything missing is there.")
    accelerators: list[AcceleratorFit]
    bytes: int = Field(description="Total of the missing models whose size is known.")
    unknown_sizes: int = Field(description="Number of missing models whose size is not known.")


class Job(BaseModel):
    """A job that gets something that was missing."""

    id: str
    kind: Literal["import", "environment", "request"]
    what: str = Field(description="The path of a model, the name of an environment, or packs.")
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    step: str
    done: int | None = Field(description="In bytes.")
    total: int | None
    part: float | None = Field(description="0 to 1.")
    message: str
    environment: str | None = Field(description="The environment to run in once the job is done.")


class LeftOver(BaseModel):
    """Something missing that cannot be got automatically."""

    what: str
    message: str
    hint: str


class Got(BaseModel):
    check: Check
    jobs: list[Job]
    uploads: list[LackedInput] = Field(description="To be sent to POST /api/v1/files, each at its path.")
    left: list[LeftOver]
