"""The errors of ComfyUI's assets: `{"error": {"code", "message", "details"}}`, with codes of their own."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.endpoint import Handler
from comfyward.api.errors import ErrorFormat, Spelled
from comfyward.errors import ComfywardError, DigestMismatch, NotFound, TooLarge, Unauthenticated


class AssetError(ComfywardError):
    """An error with one of ComfyUI's codes."""

    status = 400

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class AssetErrorBody(BaseModel):
    code: str
    message: str
    details: dict[str, Any]


class AssetErrorEnvelope(BaseModel):
    error: AssetErrorBody


def _spelled(error: ComfywardError) -> Spelled:
    match error:
        case AssetError():
            return _envelope(error.status, error.code, error.message)
        case NotFound():
            return _envelope(404, "ASSET_NOT_FOUND", error.message)
        case DigestMismatch():
            return _envelope(400, "HASH_MISMATCH", "Uploaded file hash does not match provided hash.")
        case TooLarge() | Unauthenticated():
            return _envelope(error.status, error.code.upper(), error.message)
        case _:
            return _envelope(error.status, "INVALID_BODY", error.message)


def _envelope(status: int, code: str, message: str) -> Spelled:
    return Spelled(status, {"error": {"code": code, "message": message, "details": {}}})


ASSET_ERRORS = ErrorFormat(_spelled, AssetErrorEnvelope)


def with_asset_errors(handler: Handler) -> Handler:
    """A handler whose errors are those of assets; faults of the server stay those of the whole API."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except ComfywardError as error:
            if error.status >= 500:
                raise
            return await ASSET_ERRORS.answer(request, error)

    return handle
