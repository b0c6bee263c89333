"""All errors that comfyward raises on purpose.

ComfywardError                     code, status, hint, details
├── InvalidRequest       400       the request is malformed
│   ├── InvalidPath      400       a path in `files` that may not be written
│   ├── InvalidUrl       400       a URL that may not be fetched
│   │   └── NotAFile     400       a page of a site of models that leads to no file
│   ├── InvalidGraph     400       the graph cannot run; has ComfyUI's node_errors
│   │   └── UnknownClasses 400     a workflow of the editor has nodes of classes that no worker has
│   ├── InvalidValue     400       a value that is invalid for an input of a graph
│   ├── InvalidPassword  400       a password that is too short or too long
│   ├── InvalidCatalog   400       a catalog of a worker that has not the form of one
│   ├── InvalidEnvironment 400     a spec, lock or source of an environment that is malformed
│   ├── InvalidLabels    422       labels that are invalid for a run
│   ├── MissingAsset     422       an asset in a graph does not exist, or belongs to another account
│   └── OutsideFile      416       a range outside of the file
├── Unauthenticated      401       no key, or an unknown one
├── Forbidden            403       a key without the permission
├── OverQuota            403       the account has reached a limit of its storage
├── OutOfCredit          402       the account has used up its credit
├── NotFound             404       missing, or another account's (indistinguishable for the caller)
│   └── BlobNotFound     404       no bytes with this digest that the caller may use
├── MethodNotAllowed     405       the path exists, but not for this method
├── Conflict             409       not possible in the present state
│   ├── StaleLease       409       a worker reports for a lease that it no longer holds
│   ├── WorkerIdTaken    409       a worker joins under the id of another that is at work
│   ├── DigestMismatch   409       the bytes do not have the expected digest
│   ├── ModelInUse       409       a model is deleted that workflows name, and nobody confirmed it
│   └── PackagesExclude  409       what packs and ComfyUI ask for cannot be installed together
├── TooLarge             413       a body or file over its limit
├── UnknownAccelerator   422       no pool serves it and none is configured
├── IdempotencyMismatch  422       a key reused with a different body
├── IdempotencyKeyUsed   422       a key reused where each may be used once
├── OtherVersion         426       a worker and a server with incompatible versions
├── QueueFull            429       the account has too many queued runs
├── TooManyFollowers     429       the account has too many streams and waiting requests open
├── FetchFailed          502       a file could not be fetched (ends a run with reason `download`)
│   ├── FetchRefused     403       the guard refused the address
│   └── HostBusy         503       the host asks to retry later (ends a run with reason `host_busy`)
├── SecretUnreadable     503       the key that encrypted a secret is not on this server
├── StorageFull          507       no space left for a file
├── ComfyUIError         502       ComfyUI answered unexpectedly
│   ├── ComfyUICrashed   502       its process ended
│   │   └── ComfyUIOverLimit         it used more memory or disk than it may
│   ├── UnreadableAnswer 502       its answer is malformed, and would be again
│   │   └── EndlessAnswer 502      its answer is larger than any that it gives by itself
│   └── GraphRefused     400       its own validation refused the graph
├── Unavailable          503       the database cannot be reached; the request may be retried
└── SetupFailed          500       ComfyUI or the server could not be set up
    └── EnvironmentFailed          an environment is not built on this host, or its ComfyUI does not start
"""

from __future__ import annotations

from typing import Any

MAX_TEXT_LENGTH = 1000


class ComfywardError(Exception):
    """The base class. `code` is stable for machines, the message is one sentence, `hint` says what to do.

    Strings are cut after MAX_TEXT_LENGTH characters, so that a long input is not sent back in full.
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
    """A value with its long strings cut, also in nested dicts and lists."""
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


class NotAFile(InvalidUrl):
    code = "not_a_file"


class InvalidGraph(InvalidRequest):
    code = "invalid_graph"


class UnknownClasses(InvalidGraph):
    pass


class InvalidValue(InvalidRequest):
    code = "invalid_value"


class InvalidPassword(InvalidRequest):
    code = "invalid_password"


class InvalidCatalog(InvalidRequest):
    code = "invalid_catalog"
    hint = "The catalog that was stored before stays in use. Check the node packs of this worker."


class InvalidEnvironment(InvalidRequest):
    code = "invalid_environment"


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


class OverQuota(ComfywardError):
    code = "over_quota"
    status = 403


class Unauthenticated(ComfywardError):
    code = "unauthenticated"
    status = 401
    hint = "Send your API key as 'Authorization: Bearer KEY'; create one with 'comfyward keys create NAME'."


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


class WorkerIdTaken(Conflict):
    code = "worker_id_taken"
    hint = "Start the worker with another --id, or stop the other one first; an id is free soon after its worker died."


class DigestMismatch(Conflict):
    code = "hash_mismatch"


class ModelInUse(Conflict):
    code = "model_in_use"
    hint = "Delete it with confirm=true: those workflows then lack it until it is restored."


class PackagesExclude(Conflict):
    code = "packages_exclude"


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
    hint = "The first request with this key created a run: find it in your list, or use a new key for a new run."


class OtherVersion(ComfywardError):
    code = "other_version"
    status = 426


class QueueFull(ComfywardError):
    code = "queue_full"
    status = 429
    hint = "Wait until some of your runs have finished."


class TooManyFollowers(ComfywardError):
    code = "too_many_streams"
    status = 429
    hint = "Close some of them, or follow all runs on one connection."


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
    hint = "The host limits its request rate: retry later, or upload the file once and use it by name."


class HostSlow(FetchFailed):
    code = "host_slow"
    status = 504
    hint = "Use a faster host, or upload the file once and use it by name."


class StorageFull(ComfywardError):
    code = "storage_full"
    status = 507
    hint = "Free disk space on the worker's host, or lower the cache limit (COMFYWARD_CACHE_LIMIT_BYTES)."


class SecretUnreadable(ComfywardError):
    code = "secret_unreadable"
    status = 503
    hint = "An admin restores the file with the keys (COMFYWARD_SECRET_KEYS_FILE), or the secret is stored again."


class ComfyUIError(ComfywardError):
    code = "comfyui_error"
    status = 502


class ComfyUICrashed(ComfyUIError):
    code = "comfyui_crashed"


class ComfyUIOverLimit(ComfyUICrashed):
    """ComfyUI used more memory or disk than it may, and was killed."""


class UnreadableAnswer(ComfyUIError):
    pass


class EndlessAnswer(UnreadableAnswer):
    pass


class GraphRefused(ComfyUIError):
    code = "validation"
    status = 400


class Unavailable(ComfywardError):
    code = "unavailable"
    status = 503
    hint = "Retry in a few seconds; with an Idempotency-Key nothing happens twice."


class SetupFailed(ComfywardError):
    code = "setup_failed"


class EnvironmentFailed(SetupFailed):
    """An environment is not built on this host, or its ComfyUI does not start."""
