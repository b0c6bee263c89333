"""Every error that comfyward raises on purpose.

ComfywardError                     code, status, hint, details
├── InvalidRequest       400       the request's form is wrong
│   ├── InvalidPath      400       a path in `files` that may not be written
│   ├── InvalidUrl       400       a URL that may not be fetched
│   ├── InvalidGraph     400       the graph cannot run; carries ComfyUI's node_errors
│   ├── InvalidValue     400       a value that an input of a graph cannot have
│   ├── InvalidPassword  400       one that is too short or too long
│   ├── InvalidLabels    422       labels that a run cannot carry
│   ├── MissingAsset     422       an asset named in a graph is absent, or another account's
│   └── OutsideFile      416       a range that lies outside the file
├── Unauthenticated      401       no key, or one that is not known
├── Forbidden            403       a known key without the right
├── OutOfCredit          402       the account has used up its credit
├── NotFound             404       absent, or another account's (the caller cannot tell which)
│   └── BlobNotFound     404       no bytes of this digest that the caller may use
├── MethodNotAllowed     405       the path exists, but not for this method
├── Conflict             409       the state does not allow it
│   ├── StaleLease       409       a worker speaks for a lease it no longer holds
│   └── DigestMismatch   409       bytes do not have the digest that was announced
├── TooLarge             413       a body or file over its limit
├── UnknownAccelerator   422       no pool serves it and none is configured
├── IdempotencyMismatch  422       a key used again with another body
├── IdempotencyKeyUsed   422       a key used again where each may be used once
├── OtherVersion         426       a worker and a server whose versions are too far apart
├── QueueFull            429       the account has too many runs waiting
├── FetchFailed          502       a file could not be fetched (ends a run with reason `download`)
│   ├── FetchRefused     403       the guard refused the address
│   └── HostBusy         503       the host asks to come again later (ends a run with reason `host_busy`)
├── StorageFull          507       no space left for a file
├── ComfyUIError         502       ComfyUI answered what it should not
│   ├── ComfyUICrashed   502       its process ended
│   ├── UnreadableAnswer 502       its answer cannot be understood, however often it is asked
│   └── GraphRefused     400       its own validation said no
├── Unavailable          503       the database is away; the same request may be sent again
└── SetupFailed          500       ComfyUI or the server could not be set up
"""

from __future__ import annotations

from typing import Any

MAX_TEXT_LENGTH = 1000


class ComfywardError(Exception):
    """Base of the tree. `code` is stable for machines, the message is one plain sentence, `hint` says what to do.

    What a caller sent is not sent back whole: each text is cut after MAX_TEXT_LENGTH characters.
    """

    code = "internal"
    status = 500
    hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None, **details: Any) -> None:
        self.message: str = shortened(message)
        super().__init__(self.message)
        self.hint: str | None = shortened(hint or type(self).hint)
        self.details: dict[str, Any] = shortened(details)


def shortened(value: Any) -> Any:
    """A value with its long texts cut, wherever in it they stand."""
    match value:
        case str() if len(value) > MAX_TEXT_LENGTH:
            return f"{value[:MAX_TEXT_LENGTH]}… ({len(value)} characters)"
        case dict():
            return {shortened(key): shortened(inner) for key, inner in value.items()}
        case list() | tuple():
            return [shortened(inner) for inner in value]
        case _:
            return value


class InvalidRequest(ComfywardError):
    code = "invalid_request"
    status = 400


class InvalidPath(InvalidRequest):
    code = "invalid_path"
    hint = "Use a path below /input/ or /models/, such as /input/image1.jpg or /models/loras/style.safetensors."


class InvalidUrl(InvalidRequest):
    code = "invalid_url"
    hint = "Use a public http:// or https:// URL, or a data: URL for a small input."


class InvalidGraph(InvalidRequest):
    code = "invalid_graph"


class InvalidValue(InvalidRequest):
    code = "invalid_value"


class InvalidPassword(InvalidRequest):
    code = "invalid_password"


class InvalidLabels(InvalidRequest):
    code = "metadata_invalid"
    status = 422


class MissingAsset(InvalidRequest):
    code = "missing_asset"
    status = 422
    hint = "Upload the file again and use the id of its new asset."


class OutsideFile(InvalidRequest):
    code = "range_not_satisfiable"
    status = 416


class OutOfCredit(ComfywardError):
    code = "insufficient_credits"
    status = 402
    hint = "Raise the account's credit limit."


class Unauthenticated(ComfywardError):
    code = "unauthenticated"
    status = 401
    hint = "Send your API key as 'Authorization: Bearer KEY'; make one with 'comfyward keys create NAME'."


class Forbidden(ComfywardError):
    code = "forbidden"
    status = 403


class NotFound(ComfywardError):
    code = "not_found"
    status = 404


class BlobNotFound(NotFound):
    code = "blob_not_found"
    hint = "Upload the bytes."


class MethodNotAllowed(ComfywardError):
    code = "method_not_allowed"
    status = 405


class Conflict(ComfywardError):
    code = "conflict"
    status = 409


class StaleLease(Conflict):
    code = "stale_lease"


class DigestMismatch(Conflict):
    code = "hash_mismatch"


class TooLarge(ComfywardError):
    code = "too_large"
    status = 413


class UnknownAccelerator(ComfywardError):
    code = "unknown_accelerator"
    status = 422


class IdempotencyMismatch(ComfywardError):
    code = "idempotency_key_reused"
    status = 422
    hint = "Use a new Idempotency-Key for a different request."


class IdempotencyKeyUsed(ComfywardError):
    code = "idempotency_key_reuse"
    status = 422
    hint = "The first request with this key made a run: look for it in your list. Use a new key for a new run."


class OtherVersion(ComfywardError):
    code = "other_version"
    status = 426


class QueueFull(ComfywardError):
    code = "queue_full"
    status = 429
    hint = "Wait until some of your runs are over."


class FetchFailed(ComfywardError):
    code = "download"
    status = 502


class FetchRefused(FetchFailed):
    code = "address_refused"
    status = 403
    hint = "File and webhook URLs must be public; an operator can allow an address with COMFYWARD_FETCH_ALLOW."


class HostBusy(FetchFailed):
    code = "host_busy"
    status = 503
    hint = "The host limits how often it may be asked: try again later, or upload the file once and name it."


class StorageFull(ComfywardError):
    code = "storage_full"
    status = 507
    hint = "Free disk space on the worker's host, or lower the cache limit (COMFYWARD_CACHE_LIMIT_BYTES)."


class ComfyUIError(ComfywardError):
    code = "comfyui_error"
    status = 502


class ComfyUICrashed(ComfyUIError):
    code = "comfyui_crashed"


class UnreadableAnswer(ComfyUIError):
    pass


class GraphRefused(ComfyUIError):
    code = "validation"
    status = 400


class Unavailable(ComfywardError):
    code = "unavailable"
    status = 503
    hint = "Try again in a few seconds; with an Idempotency-Key nothing happens twice."


class SetupFailed(ComfywardError):
    code = "setup_failed"
