"""The settings of a server: where it listens and what it stores where, its logins, its runs and shares of storage."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationInfo, field_validator

MIB = 1024**2
GIB = 1024**3
GB = 1000**3

# Credits per second of GPU time. On ComfyICU, 10,000 credits are one US dollar. The prices of L4, L40S, H100 and A100
# are ComfyICU's; those of T4 and A10 are not published, and are set between their neighbours.
DEFAULT_PRICES = {
    "T4": 6.0,
    "L4": 9.0,
    "A10": 14.0,
    "L40S": 32.0,
    "A100_40GB": 32.0,
    "A100_80GB": 47.0,
    "H100": 64.0,
    "CPU": 1.0,
}


def split_commas(value: object) -> object:
    """The parts of a text between commas; any other value as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def default_data_dir() -> Path:
    """The data directory if none is set."""
    return Path.home() / ".local" / "share" / "comfyward"


class ServerSettings(BaseModel):
    # Server
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8600, ge=0, le=65535, description="Port to listen on; 0 chooses a free one.")
    data_dir: Path = Field(default_factory=default_data_dir, description="Database, objects, caches and logs.")
    public_url: str | None = Field(
        None, description="URL at which clients reach this server, used in output URLs. Default: the request's host."
    )
    cors_origins: list[str] = Field(
        default_factory=list,
        description="Origins whose web pages may call the APIs with a key, such as https://app.example.com, "
        "comma-separated or as JSON; * allows any. The website's cookie is never accepted from them.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level to log.")
    metrics_token: str | None = Field(
        None,
        repr=False,
        description="Bearer token that GET /metrics requires, for Prometheus. Without one, strangers get the figures "
        "of pools; workers, packs and errors are shown to admins.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text, or json for one object per line with the fields of each message."
    )
    otel_endpoint: str | None = Field(
        None, description="Base URL of an OTLP/HTTP collector that receives a trace of each run. Needs comfyward[otel]."
    )
    body_limit_bytes: int = Field(32 * MIB, gt=0, description="Largest JSON body; larger ones are refused with 413.")
    graph_limit_bytes: int = Field(
        4 * MIB,
        gt=0,
        description="Largest graph of a run or a workflow, in the form of the API or the editor; larger ones are "
        "refused with 413.",
    )
    upload_limit_bytes: int = Field(20 * GIB, gt=0, description="Largest file uploaded with POST /files.")
    connections_per_address: int = Field(
        1000,
        ge=0,
        description="Connections that one client address may have open, not counting those of workers; 0 for no limit, "
        "such as behind a balancer, whose address all clients share.",
    )
    streams_per_account: int = Field(
        100,
        ge=0,
        description="Event streams, websockets and waiting requests (?wait=) that an account may have open at one "
        "server; more are refused with 429. 0: any number.",
    )
    request_timeout_s: float = Field(
        20.0,
        gt=0,
        description="Time in which a request's headers must arrive, and in which each second of its body brings 1 KiB "
        "on average. Answers, event streams and websockets may take longer.",
    )
    shutdown_grace_s: float = Field(
        20.0, ge=0, description="Time after SIGTERM in which running work may finish before the server stops."
    )
    drain_delay_s: float = Field(
        0.0, ge=0, description="Time after SIGTERM in which requests are still accepted although /readyz answers 503."
    )
    database_url: str | None = Field(
        None,
        repr=False,
        description="postgresql://USER:PASSWORD@HOST/DATABASE for several servers. Default: SQLite in the data dir.",
    )
    database_connections: int = Field(16, ge=4, description="Connections of each server to PostgreSQL.")
    objects_url: str | None = Field(
        None,
        description="Store of outputs and uploads: a directory, s3://BUCKET/PREFIX, gs://… or az://…. "
        "Credentials come from the store's own variables (AWS_ACCESS_KEY_ID, …). Default: in the data dir.",
    )
    objects_endpoint: str | None = Field(
        None, description="URL of an S3-compatible server that is not AWS, such as http://minio:9000."
    )
    objects_direct: Literal["all", "workers", "none"] = Field(
        "all",
        description="Who uses the object store directly, with URLs that are valid for an hour: everybody (all), only "
        "workers (if clients cannot reach it), or nobody (none).",
    )

    mirror_models: bool | None = Field(
        None,
        description="Copy models that a worker has fetched from a URL to the object store, for other hosts. "
        "Default: true unless objects_url is a directory.",
    )

    native_port: int | None = Field(
        None, ge=0, le=65535, description="Additional port with ComfyUI's own API and editor at its root."
    )
    native_open: bool = Field(False, description="Let this machine use the native port as the admin, without a key.")
    editor: bool = Field(True, description="Serve ComfyUI's editor below /workflows/ID/comfy/ (fetched once, 30 MB).")
    editor_url: str | None = Field(
        None,
        description="Second URL of this server, with another host name, at which pages show the editor, such as "
        "https://*.comfyward-editor.example.com: with a star, each account has a name of its own there. Default: "
        "http://*.editor.localhost for a website at a loopback address, else none: the editor is shown at the "
        "website's own URL.",
    )

    # Login with an identity provider (needs the extra `oidc`)
    oidc_issuer: str | None = Field(
        None, description="Issuer URL of an OpenID Connect provider whose users can log in. Needs comfyward[oidc]."
    )
    oidc_client_id: str | None = Field(None, description="This server's client id at the provider.")
    oidc_client_secret: str | None = Field(
        None, repr=False, description="This server's client secret; none for a public client."
    )
    oidc_signup: bool = Field(False, description="Create an account for a user of the provider who has none.")

    # Runs
    run_timeout_s: float = Field(3600.0, gt=0, description="Longest execution of a run that sets no timeout.")
    max_run_timeout_s: float = Field(24 * 3600.0, gt=0, description="Largest timeout that a run may set.")
    max_attempts: int = Field(3, ge=1, description="Attempts of a run before it fails for good.")
    max_waiting_runs: int = Field(10_000, ge=1, description="Limit of queued runs per account.")
    default_accelerator: str | None = Field(
        None, description="Pool of runs that name none. Default: the workflow's, or else the first pool that exists."
    )
    accelerators: list[str] = Field(
        default_factory=list, description="Pools that accept runs although no worker has joined them yet."
    )
    accelerator_aliases: dict[str, str] = Field(
        default_factory=lambda: {"A100": "A100_40GB"},
        description='Other names of pools, as JSON: {"L4": "RTX_4090"} runs on RTX_4090 what asks for L4.',
    )
    stand_in: bool | None = Field(
        None,
        description="Let a single pool also serve runs that ask for a GPU by one of ComfyICU's names "
        "(T4, L4, L40S, A10, A100, A100_40GB, A100_80GB, H100). Default: true if local workers serve the pool and "
        "there has never been another.",
    )
    larger_pools: dict[str, str] = Field(
        default_factory=dict,
        description='Pools for runs that did not fit into their pool\'s memory, as JSON: {"L4": "A100_80GB"}.',
    )
    fallback_after_s: float = Field(
        0.0, ge=0, description="Move runs that have waited this long to the larger pool too; 0 never moves them."
    )
    priority_ageing_s: float = Field(
        600.0, ge=0, description="Time in which a waiting run's priority grows by one, so that none starves; 0: never."
    )
    prices: dict[str, float] = Field(
        default_factory=lambda: dict(DEFAULT_PRICES),
        description="Credits per second of GPU time, by accelerator. An attempt keeps the price at which it began.",
    )
    retention_days: float = Field(
        0.0, ge=0, description="Delete finished runs and their outputs after this many days; 0 never deletes them."
    )

    # Storage of each account; an admin's files are limited only by limits of their own (comfyward users quota)
    quota_inputs_bytes: int = Field(
        50 * GB, ge=0, description="Files that an account may store, other than models; 0: any number of bytes."
    )
    quota_models_bytes: int = Field(200 * GB, ge=0, description="Models that an account may store; 0: any.")
    quota_outputs_bytes: int = Field(
        100 * GB,
        ge=0,
        description="What an account's runs may keep (outputs, previews, inputs, large graphs); at this limit new runs "
        "are refused. 0: any number of bytes.",
    )
    quota_unfinished_bytes: int = Field(
        200 * GB, ge=0, description="Announced size of an account's unfinished uploads; 0: any."
    )
    quota_unfinished_uploads: int = Field(
        100, ge=0, description="Number of an account's unfinished uploads, which expire after a day; 0: any."
    )

    @field_validator("cors_origins", "accelerators", mode="before")
    @classmethod
    def _split_lists(cls, value: object) -> object:
        return split_commas(value)

    @field_validator("cors_origins")
    @classmethod
    def _normalize_origins(cls, origins: list[str]) -> list[str]:
        return [each if each == "*" else origin(each) for each in origins]

    @field_validator("editor_url")
    @classmethod
    def _is_elsewhere(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        editor, public = urlsplit(origin(url, has_star=True)), urlsplit((info.data.get("public_url") or "").lower())
        if (editor.hostname or "").replace("*", (public.hostname or "").partition(".")[0]) == public.hostname:
            raise ValueError("it needs another host name than the setting 'public_url': cookies do not look at ports")
        if public.scheme not in ("", editor.scheme):
            raise ValueError("it and the setting 'public_url' must both be https, or both http")
        return f"{editor.scheme}://{editor.netloc}"

    def quota(self) -> dict[str, int]:
        """The storage limits of an account, as `accounts.storage.Quota` names them."""
        return {
            "inputs": self.quota_inputs_bytes,
            "models": self.quota_models_bytes,
            "outputs": self.quota_outputs_bytes,
            "unfinished": self.quota_unfinished_bytes,
            "uploads": self.quota_unfinished_uploads,
        }

    @property
    def mirrors_models(self) -> bool:
        """By default True for a remote object store; on a single host the cache is enough."""
        return "://" in (self.objects_url or "") if self.mirror_models is None else self.mirror_models


def origin(text: str, *, has_star: bool = False) -> str:
    """An origin as browsers send it: lower case, without the scheme's default port. With `has_star`, its host may begin
    with "*.". Raises ValueError."""
    parts = urlsplit(text.strip().lower())
    named = (parts.hostname or "").removeprefix("*." if has_star else "")
    if parts.scheme not in ("http", "https") or not named or parts.path not in ("", "/") or "*" in named:
        raise ValueError(f"'{text}' is not an origin: use the form https://app.example.com, without a path")
    default_port = {"http": 80, "https": 443}[parts.scheme]
    hostname = parts.hostname or ""
    host = f"[{hostname}]" if ":" in hostname else hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, default_port) else "")
