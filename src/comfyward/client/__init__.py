"""A Python client of comfyward.

    from comfyward.client import Client

    with Client("http://127.0.0.1:8600", "cw_…") as comfyward:
        run = comfyward.run(graph, files={"/input/cat.png": Path("cat.png")})
        comfyward.download(run, Path("pictures"))

`AsyncClient` has the same methods as coroutines. Local files are sent by digest, so that bytes which the server has are
not sent again. Requests are retried while the server cannot be reached; a submission has an idempotency key, so that a
retry creates no second run.
"""

from comfyward.client.asynchronous import AsyncClient
from comfyward.client.checks import Check, Got, Job
from comfyward.client.errors import ApiError, InvalidSignature, RunFailed, Unreachable
from comfyward.client.records import Event, Output, Progress, Run, Source
from comfyward.client.synchronous import Client
from comfyward.client.transport import DEFAULT_URL
from comfyward.client.webhooks import verify_webhook

__all__ = [
    "DEFAULT_URL",
    "ApiError",
    "AsyncClient",
    "Check",
    "Client",
    "Event",
    "Got",
    "InvalidSignature",
    "Job",
    "Output",
    "Progress",
    "Run",
    "RunFailed",
    "Source",
    "Unreachable",
    "verify_webhook",
]
