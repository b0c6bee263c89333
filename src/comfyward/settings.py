"""All settings, in one frozen object that the entry points read once and pass down.

Sources, strongest first: command-line flags, environment variables `COMFYWARD_*`, `comfyward.toml` in the working
directory. Nothing else in the package reads the environment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

GIB = 1024**3
MIB = 1024**2
GB = 1000**3


SERVER_LOCK = "server.lock"  # a file in the data directory, held open by its server


def default_data_dir() -> Path:
    """The data directory if none is set."""
    return Path.home() / ".local" / "share" / "comfyward"


def default_memory_limit() -> int:
    """85 % of this host's memory, in bytes."""
    return int(_host_memory_bytes() * 0.85)


def default_sandbox_memory() -> int:
    """95 % of this host's memory, in bytes."""
    return int(_host_memory_bytes() * 0.95)


def default_model_memory() -> ByteSize:
    """Half of this host's memory, in bytes."""
    return ByteSize(_host_memory_bytes() // 2)


def _host_memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


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


# Settings that workers do not need, and must not learn.
SERVER_ONLY = {
    "oidc_client_secret",
    "database_url",
    "objects_url",
    "objects_endpoint",
    "editor_url",
    "secret_keys_file",
    "hugging_face_url",
    "civitai_url",
}


class CommaSeparatedEnv(EnvSettingsSource):
    """Environment variables whose lists may be comma-separated instead of JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
            return value
        return super().decode_complex_value(field_name, field, value)


class Settings(BaseSettings):
    """The operator's settings. Every field has the environment variable `COMFYWARD_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix="COMFYWARD_", toml_file="comfyward.toml", frozen=True, extra="ignore", env_ignore_empty=True
    )

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
        description="What an account's runs may keep (outputs, previews, inputs); at this limit new runs are refused. "
        "0: any number of bytes.",
    )
    quota_unfinished_bytes: int = Field(
        200 * GB, ge=0, description="Announced size of an account's unfinished uploads; 0: any."
    )
    quota_unfinished_uploads: int = Field(
        100, ge=0, description="Number of an account's unfinished uploads, which expire after a day; 0: any."
    )

    # Workers
    fleet: Literal["local", "none"] = Field(
        "local", description="local starts a worker for each GPU of this machine; none starts none: workers join."
    )
    isolation: Literal["account", "shared"] = Field(
        "account",
        description="account: a ComfyUI process belongs to one account, and the next account gets a fresh one. "
        "shared: all accounts use one process, whose nodes can then see what others' runs left.",
    )
    lease_s: float = Field(15.0, ge=2, description="Time after which the runs of an unresponsive worker are retried.")
    local_min_workers: int = Field(1, ge=0, description="Local workers that run even when idle; 0 scales to zero.")
    local_idle_timeout_s: float = Field(300.0, ge=0, description="Idle time after which a surplus local worker stops.")
    local_accelerators: list[str] = Field(
        default_factory=list,
        description='Pools of the local workers as JSON, one per device, e.g. ["L4"]. Default: named after the device.',
    )
    affinity_wait_s: float = Field(
        2.0,
        ge=0,
        description="How long a run waits for a worker with its account's ComfyUI and models while another is idle.",
    )
    affinity_pass_s: float = Field(
        120.0,
        ge=0,
        description="How long runs with such a worker may overtake a run without one.",
    )

    # ComfyUI
    comfyui: Path | None = Field(None, description="An existing ComfyUI to use instead of installing one.")
    comfyui_python: Path | None = Field(
        None, description="The Python of the existing ComfyUI. Default: that of its venv or .venv."
    )
    comfyui_version: str | None = Field(
        None,
        description="The release of ComfyUI to install and use. Default: the one installed first, else a current one.",
    )
    comfyui_args: list[str] = Field(default_factory=list, description="Extra ComfyUI arguments, as a JSON list.")
    environments_dir: Path | None = Field(
        None, description="Folder in which ComfyUI is installed. Default: in the data dir."
    )
    environment_build_s: float = Field(
        3600.0,
        gt=0,
        description="How long a worker may build an environment, or a server lock one, before that counts as failed.",
    )
    environment_mend_s: float = Field(
        600.0,
        ge=0,
        description="How long queued runs wait for an environment that failed at all workers of their pool.",
    )
    node_registry_url: str = Field(
        "https://api.comfy.org",
        description="Registry of packs, from which environments get those named cnr:ID@VERSION.",
    )
    node_table: Path | None = Field(
        None,
        description='TOML or JSON file with the sources of packs by node class, such as "Fancy" = "cnr:fancy@1.2.0", '
        "for those that no public list has.",
    )
    node_map_dir: Path | None = Field(
        None,
        description="Folder with ComfyUI-Manager's lists of packs (extension-node-map.json, custom-node-list.json, "
        "github-stats.json), to use instead of those that are fetched.",
    )
    custom_nodes_dir: Path | None = Field(None, description="Folder of custom nodes that every worker loads.")
    model_dirs: list[Path] = Field(
        default_factory=list, description="Model folders with the layout of ComfyUI's models/, used read-only."
    )
    comfyui_memory_limit_bytes: int = Field(
        default_factory=default_memory_limit,
        gt=0,
        description="Memory over which ComfyUI is restarted between two runs. Default: 85 % of this host's.",
    )
    sandbox_memory_bytes: int = Field(
        default_factory=default_sandbox_memory,
        gt=0,
        description="Memory that a run may use, on the host and not on the GPU; one that uses more ends as over_limit. "
        "Default: 95 % of this host's. By cgroups, at most 90 % of what the service or container may have.",
    )
    sandbox_disk_bytes: int = Field(
        100 * GIB, gt=0, description="Disk space that ComfyUI's own folders may use, with the files that runs leave."
    )
    sandbox_processes: int = Field(
        4096, gt=0, description="Processes and threads that ComfyUI may have; a run that needs more ends as over_limit."
    )
    outputs_limit_bytes: int = Field(
        20 * GIB, gt=0, description="Size of all files that one run may leave; a run that leaves more fails."
    )
    sandbox: Literal["auto", "bubblewrap", "landlock", "none"] = Field(
        "auto",
        description="auto is the strongest level that works on this host; a named level fails if it does not work.",
    )
    sandbox_cgroups: Literal["auto", "required", "off"] = Field(
        "auto",
        description="Limits by cgroups (version 2). auto uses them where the worker's cgroup is delegated to it; "
        "required refuses to start where it is not.",
    )
    sandbox_network: bool = Field(
        False, description="Allow ComfyUI to use the network, for nodes that call web services."
    )

    # Files
    fetch_allow: list[str] = Field(
        default_factory=list,
        description="Private addresses, networks (CIDR) and hosts that file URLs and webhooks may use, "
        "comma-separated or as JSON.",
    )
    fetch_limit_bytes: int = Field(200 * GIB, gt=0, description="Largest file fetched for a run.")
    fetch_timeout_s: float = Field(
        3600.0, gt=0, description="Longest download of one file, including pauses that a busy host asks for."
    )
    fetch_least_bytes_per_s: float = Field(
        16 * 1024.0,
        ge=0,
        description="Least speed of a download, all of its connections together. One that is slower over "
        "fetch_window_s fails, and its run ends. 0 allows any speed.",
    )
    fetch_window_s: float = Field(
        30.0,
        gt=0,
        description="Time over which the speed of a download is averaged; pauses and connecting do not count.",
    )
    fetch_connections: int = Field(8, ge=1, le=32, description="Parallel connections of one large download.")
    cache_limit_bytes: int = Field(
        100 * GIB, gt=0, description="Size of the host's blob cache; the least recently used blobs are evicted first."
    )
    model_memory: ByteSize = Field(
        default_factory=default_model_memory,
        description="Memory of a worker's host in which its workers keep model files, such as 48GiB: those that are "
        "pinned, and those of the next run, which are read while the present one executes. The kernel takes it back "
        "when a process needs it. 0 keeps none. Default: half of the host's.",
    )
    secret_keys_file: Path | None = Field(
        None,
        description="File with the keys that encrypt accounts' secrets, one a line, the newest first. Default: "
        "secret.keys in the data dir, made when the first secret is stored. Servers of one database need the same.",
    )
    hugging_face_url: str = Field(
        "https://huggingface.co", description="Where Hugging Face's models are fetched: its own address or a mirror's."
    )
    civitai_url: str = Field("https://civitai.com", description="Where Civitai's models are described and fetched.")
    webhook_retry_s: float = Field(24 * 3600.0, gt=0, description="How long an undelivered webhook is retried.")

    @field_validator(
        "cors_origins", "fetch_allow", "accelerators", "local_accelerators", "comfyui_args", "model_dirs", mode="before"
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("cors_origins")
    @classmethod
    def _normalize_origins(cls, origins: list[str]) -> list[str]:
        return [origin if origin == "*" else _origin(origin) for origin in origins]

    @field_validator("hugging_face_url", "civitai_url")
    @classmethod
    def _is_origin(cls, url: str) -> str:
        return _origin(url)

    @field_validator("comfyui_version")
    @classmethod
    def _excludes_an_existing_comfyui(cls, version: str | None, info: ValidationInfo) -> str | None:
        if version is not None and info.data.get("comfyui") is not None:
            raise ValueError("the setting 'comfyui' names a ComfyUI that exists already; use one of the two")
        return version

    @field_validator("editor_url")
    @classmethod
    def _is_elsewhere(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        editor, public = urlsplit(_origin(url, has_star=True)), urlsplit((info.data.get("public_url") or "").lower())
        if (editor.hostname or "").replace("*", (public.hostname or "").partition(".")[0]) == public.hostname:
            raise ValueError("it needs another host name than the setting 'public_url': cookies do not look at ports")
        if public.scheme not in ("", editor.scheme):
            raise ValueError("it and the setting 'public_url' must both be https, or both http")
        return f"{editor.scheme}://{editor.netloc}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, CommaSeparatedEnv(settings_cls), TomlConfigSettingsSource(settings_cls)

    def quota(self) -> dict[str, int]:
        """The storage limits of an account, as `accounts.storage.Quota` names them."""
        return {
            "inputs": self.quota_inputs_bytes,
            "models": self.quota_models_bytes,
            "outputs": self.quota_outputs_bytes,
            "unfinished": self.quota_unfinished_bytes,
            "uploads": self.quota_unfinished_uploads,
        }

    def as_environment(self) -> dict[str, str]:
        """The settings that are not defaults, as environment variables for a worker process."""
        values = self.model_dump(mode="json", include=self.model_fields_set, exclude=SERVER_ONLY)
        return {
            f"COMFYWARD_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in values.items()
            if value is not None
        }

    def derived_environments_dir(self) -> Path:
        return self.environments_dir or self.data_dir / "environments"

    @property
    def mirrors_models(self) -> bool:
        """By default True for a remote object store; on a single host the cache is enough."""
        return "://" in (self.objects_url or "") if self.mirror_models is None else self.mirror_models

    def derived_secret_keys_file(self) -> Path:
        return self.secret_keys_file or self.data_dir / "secret.keys"

    def database_file(self) -> Path:
        """The file of SQLite, used unless `database_url` is set."""
        return self.data_dir / "comfyward.db"

    def derived_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.database_file()}"

    def derived_objects_url(self) -> str:
        return self.objects_url or str(self.data_dir / "objects")


def _origin(text: str, *, has_star: bool = False) -> str:
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
