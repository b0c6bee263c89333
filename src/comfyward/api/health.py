"""Health checks: liveness, and readiness for requests."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward import __version__
from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.readiness import NotReady, Readiness, Ready


class Up(BaseModel):
    status: Literal["ok"]
    version: str


class ReadyAnswer(BaseModel):
    status: Literal["ready"]
    workers: int
    refused_catalogs: int | None = Field(None, description="Workers whose catalog was refused, if there are any.")


class Health:
    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def endpoints(self) -> list[Endpoint]:
        up, ready = Models(answer=Up, needs_key=False), Models(answer=ReadyAnswer, description=READY, needs_key=False)
        return [
            Endpoint("GET", "/healthz", self.up, "The server is up", up),
            Endpoint("GET", "/readyz", self.ready, "200 while requests should be sent here", ready),
        ]

    async def up(self, request: Request) -> Response:
        return answer({"status": "ok", "version": __version__})

    async def ready(self, request: Request) -> Response:
        match await self._readiness.check():
            case Ready(workers, refused):
                more = {"refused_catalogs": refused} if refused else {}
                return answer({"status": "ready", "workers": workers, **more})
            case NotReady(status, message):
                return answer({"status": status, "message": message}, 503, headers={"Retry-After": "2"})


READY = (
    "With local workers, once one of them is ready and its nodes are known; otherwise once the database answers. "
    "503 while stopping."
)
