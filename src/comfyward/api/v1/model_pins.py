"""Models in memory, in v1: which of them are where, and which are pinned there (for admins)."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.times import iso
from comfyward.dispatch.model_pins import ModelPins, NewPin, PinState, check_may_see_memory
from comfyward.dispatch.pinning import HostMemory
from comfyward.paths import model_at
from comfyward.worker.protocol import ModelInMemory

BODY_LIMIT_BYTES = 16 << 10


class PinRequest(leniency.Request):
    """A model, or all models of a workflow, to keep in the memory of workers' hosts."""

    model: str = Field("", max_length=1100, description="FOLDER/NAME, such as checkpoints/flux-dev.safetensors.")
    workflow: str = Field("", max_length=60, description="Instead of a model: the id of a workflow that names them.")
    accelerator: str = Field(max_length=60, description="The pool whose workers keep it.")
    workers: int = Field(1, ge=1, le=10_000, description="The number of workers of the pool that keep it.")

    @model_validator(mode="after")
    def _names_one(self) -> PinRequest:
        if bool(self.model) == bool(self.workflow):
            raise ValueError("name either a model or a workflow")
        return self


class PinHolding(BaseModel):
    """A worker that was asked to keep a pinned model."""

    worker: str
    host: str
    resident: int = Field(description="Bytes of it that are in memory.")
    problem: str | None = Field(description="What is in the way.")


class Pin(BaseModel):
    id: str
    model: str
    accelerator: str
    workers: int
    workflow: str | None
    size: int | None = Field(description="In bytes; null until a worker has told.")
    missing: int = Field(description="Workers that are not there, or have no room beside earlier pins.")
    held_by: list[PinHolding]
    created_at: datetime


class MemoryModel(BaseModel):
    model: str
    size: int
    resident: int = Field(description="Bytes of it that are in memory.")
    since: datetime | None = Field(description="When all of it was there; null if it is not.")
    pinned: bool
    problem: str | None


class WorkerMemory(BaseModel):
    """The models in the memory of a worker's host, which the workers of one host share."""

    worker: str
    accelerator: str
    host: str
    limit: int = Field(description="Bytes that are for models (COMFYWARD_MODEL_MEMORY).")
    models: list[MemoryModel]


class LibraryPins:
    def __init__(self, auth: Auth, pins: ModelPins) -> None:
        self._auth, self._pins = auth, pins

    def endpoints(self) -> list[Endpoint]:
        put = Models(body=PinRequest, answer=list[Pin])
        return [
            Endpoint(
                "GET",
                "/model-memory",
                self.memory,
                "The models in the memory of workers' hosts (admins)",
                Models(answer=list[WorkerMemory]),
            ),
            Endpoint("GET", "/model-pins", self.find, "Pinned models (admins)", Models(answer=list[Pin])),
            Endpoint("POST", "/model-pins", self.pin, "Keep models in the memory of workers (admins)", put),
            Endpoint("DELETE", "/model-pins/{pin_id}", self.unpin, "Unpin a model (admins)", NOTHING),
        ]

    async def memory(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        return answer([_memory_shape(memory) for memory in await self._pins.memories(caller.account)])

    async def find(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        return answer([_shape(state) for state in await self._pins.states(caller.account)])

    async def pin(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        check_may_see_memory(caller.account)
        body = await read_json(request, PinRequest, BODY_LIMIT_BYTES)
        pinned = await self._pins.pin(caller.account, NewPin(body.model, body.workflow, body.accelerator, body.workers))
        ids = {pin.id for pin in pinned}
        return answer([_shape(each) for each in await self._pins.states(caller.account) if each.pin.id in ids])

    async def unpin(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        await self._pins.remove(caller.account, request.path_params["pin_id"])
        return Response(status_code=204)


def _shape(state: PinState) -> dict[str, object]:
    pin = state.pin
    return {
        "id": pin.id,
        "model": model_at(pin.path),
        "accelerator": pin.pool,
        "workers": pin.workers,
        "workflow": pin.workflow_id or None,
        "size": state.size,
        "missing": state.missing,
        "held_by": [
            {"worker": each.worker_id, "host": each.host, "resident": each.resident, "problem": each.problem or None}
            for each in state.holdings
        ],
        "created_at": iso(pin.created_at),
    }


def _memory_shape(memory: HostMemory) -> dict[str, object]:
    return {
        "worker": memory.id,
        "accelerator": memory.pool,
        "host": memory.host,
        "limit": memory.limit,
        "models": [_model_shape(kept) for kept in memory.kept.values()],
    }


def _model_shape(kept: ModelInMemory) -> dict[str, object]:
    return {
        "model": model_at(kept.path),
        "size": kept.size,
        "resident": kept.resident,
        "since": iso(kept.since) if kept.since else None,
        "pinned": kept.pinned,
        "problem": kept.problem or None,
    }
