"""The errors of the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyward.client.records import Run
from comfyward.errors import ComfywardError


class ApiError(ComfywardError):
    """The server refused a request, with its own `code`, `message`, `hint`, `status` and `details`."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(str(body.get("message") or f"The server answered {status}."), hint=body.get("hint"))
        self.code, self.status = str(body.get("code") or f"http_{status}"), status
        self.details = dict(body.get("details") or {}) | {"node_errors": body.get("node_errors") or {}}


class Unreachable(ComfywardError):
    """The server could not be reached in any attempt."""

    code = "unreachable"
    hint = "Is it running, and is the address right? (COMFYWARD_URL)"


class RunFailed(ComfywardError):
    """A run ended without success; `run` is the run."""

    code = "run_failed"

    def __init__(self, run: Run) -> None:
        error = run.data.get("error") or {}
        super().__init__(str(error.get("message") or f"The run ended: {run.end_reason}."), hint=error.get("hint"))
        self.run = run


class InvalidSignature(ComfywardError):
    """A webhook is too old, or was not sent by the server that knows the secret."""

    code = "invalid_signature"
    status = 401
