"""All settings: one frozen object, read once by the entry points and passed down.

Sources, strongest first: command-line flags, environment variables `COMFYWARD_*`, `comfyward.toml` in the working
directory. Nothing else in the package reads the environment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
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


SERVER_LOCK = "server.lock"  # in the data directory; held open by the server that works in it


def default_data_dir() -> Path:
    """Where data lives when nobody says otherwise."""
    return Path.home() / ".local" / "share" / "comfyward"


def default_memory_limit() -> int:
    """Most of this host's memory, in bytes."""
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 0.85)


# Credits a second of GPU time. 10,000 credits are one US dollar on ComfyICU; L4, L40S, H100 and A100 are its published
# prices, those of T4 and A10 are not published and are set between their neighbours.
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


# What a worker has no use for, and must not be able to tell.
SERVERS_OWN = {"oidc_client_secret", "database_url", "objects_url", "objects_endpoint"}


class CommaEnv(EnvSettingsSource):
    """Environment variables in which a list may be written with commas, not only as JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
            return value
        return super().decode_complex_value(field_name, field, value)


class Settings(BaseSettings):
    """What an operator can set. Every field has the environment variable `COMFYWARD_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix="COMFYWARD_", toml_file="comfyward.toml", frozen=True, extra="ignore", env_ignore_empty=True
    )

    # Server
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8600, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(default_factory=default_data_dir, description="Database, objects, caches and logs.")
    public_url: str | None = Field(
        None, description="How clients reach this server; part of every output URL. Default: the request's own host."
    )
    cors_origins: list[str] = Field(
        default_factory=list,
        description="Origins whose web pages may call the APIs with a key, such as https://app.example.com, "
        "comma-separated or as JSON; * for any. Never with the website's cookie.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What to log.")
    log_format: Literal["text", "json"] = Field("text", description="json: one object a line, with run and action.")
    otel_endpoint: str | None = Field(
        None, description="Base URL of an OTLP/HTTP collector that is told of each run's way. Needs comfyward[otel]."
    )
    body_limit_bytes: int = Field(32 * MIB, gt=0, description="Largest JSON body; larger ones get 413.")
    upload_limit_bytes: int = Field(20 * GIB, gt=0, description="Largest file uploaded with POST /files.")
    shutdown_grace_s: float = Field(20.0, ge=0, description="How long SIGTERM waits for running work before it stops.")
    drain_delay_s: float = Field(
        0.0, ge=0, description="How long after SIGTERM requests are still taken while /readyz says 503 already."
    )
    database_url: str | None = Field(
        None,
        repr=False,
        description="postgresql://USER:PASSWORD@HOST/DATABASE for several servers. Default: SQLite in the data dir.",
    )
    database_connections: int = Field(16, ge=4, description="Connections of one server to PostgreSQL.")
    objects_url: str | None = Field(
        None,
        description="Where outputs and uploads are stored: a directory, s3://BUCKET/PREFIX, gs://… or az://…. "
        "Credentials come from the store's own variables (AWS_ACCESS_KEY_ID, …). Default: in the data dir.",
    )
    objects_endpoint: str | None = Field(
        None, description="URL of an S3-compatible server that is not AWS, such as http://minio:9000."
    )
    objects_direct: Literal["all", "workers", "none"] = Field(
        "all",
        description="Who is sent to the object store itself, with URLs that last an hour: everybody who downloads an "
        "output, workers only (where clients cannot reach it), or nobody.",
    )

    mirror_models: bool | None = Field(
        None,
        description="Keep models that a worker has fetched from a URL in the object store, for other hosts. "
        "Default: where objects_url is not a directory.",
    )

    native_port: int | None = Field(
        None, ge=0, le=65535, description="Serve ComfyUI's own API (and editor) at the root of this port too."
    )
    native_open: bool = Field(
        False, description="Let this machine itself use the native port without a key, as the admin."
    )
    editor: bool = Field(True, description="Serve ComfyUI's editor below /workflows/ID/comfy/ (fetched once, 30 MB).")

    # Login by an identity provider (needs the extra `oidc`)
    oidc_issuer: str | None = Field(
        None, description="Issuer URL of an OpenID Connect provider; its users can log in. Needs comfyward[oidc]."
    )
    oidc_client_id: str | None = Field(None, description="This server's client id at the provider.")
    oidc_client_secret: str | None = Field(None, repr=False, description="Its secret; none for a public client.")
    oidc_signup: bool = Field(False, description="Give an account to whoever logs in by the provider and has none.")

    # Runs
    run_timeout_s: float = Field(3600.0, gt=0, description="Longest execution of a run that sets no timeout.")
    max_run_timeout_s: float = Field(24 * 3600.0, gt=0, description="Largest timeout that a run may ask for.")
    max_attempts: int = Field(3, ge=1, description="How often a run is handed out before it fails for good.")
    max_waiting_runs: int = Field(10_000, ge=1, description="How many runs of one account may wait at once.")
    default_accelerator: str | None = Field(
        None, description="Pool for runs that name none. Default: the workflow's, else the first pool that exists."
    )
    accelerators: list[str] = Field(
        default_factory=list, description="Pools that runs may wait for although no worker serves them yet."
    )
    accelerator_aliases: dict[str, str] = Field(
        default_factory=lambda: {"A100": "A100_40GB"},
        description='Names that another pool serves, as JSON: {"L4": "RTX_4090"} gives runs asking for L4 to RTX_4090.',
    )
    stand_in: bool | None = Field(
        None,
        description="Whether the only pool there is also takes runs that ask for a GPU by one of ComfyICU's names "
        "(T4, L4, L40S, A10, A100, A100_40GB, A100_80GB, H100). Default: where local workers serve it, and no other "
        "pool has ever been here.",
    )
    larger_pools: dict[str, str] = Field(
        default_factory=dict,
        description='Where a run goes that did not fit into its pool\'s memory, as JSON: {"L4": "A100_80GB"}.',
    )
    fallback_after_s: float = Field(
        0.0, ge=0, description="Runs that have waited this long go to the larger pool too; 0 lets them wait."
    )
    priority_ageing_s: float = Field(
        600.0, ge=0, description="A waiting run's priority grows by one in this time, so that none starves; 0: never."
    )
    prices: dict[str, float] = Field(
        default_factory=lambda: dict(DEFAULT_PRICES), description="Credits per second of GPU time, by accelerator."
    )
    retention_days: float = Field(
        0.0, ge=0, description="Delete finished runs and their outputs after this many days; 0 keeps them."
    )

    # Workers
    fleet: Literal["local", "none"] = Field("local", description="local: start a worker per GPU here; none: they join.")
    lease_s: float = Field(15.0, ge=2, description="A worker silent for this long loses its runs to another.")
    local_min_workers: int = Field(1, ge=0, description="Local workers kept up without work; 0 scales to zero.")
    local_idle_timeout_s: float = Field(300.0, ge=0, description="Stop a surplus local worker idle for this long.")
    local_accelerators: list[str] = Field(
        default_factory=list,
        description='Pools of the local workers as JSON, one per device, e.g. ["L4"]. Default: named after the device.',
    )
    affinity_wait_s: float = Field(
        2.0, ge=0, description="How long a run waits for a worker that holds its models while another one is idle."
    )
    affinity_pass_s: float = Field(
        120.0, ge=0, description="How long runs whose models are loaded may overtake one whose models are not."
    )

    # ComfyUI
    comfyui: Path | None = Field(None, description="An existing ComfyUI to use instead of installing one.")
    comfyui_python: Path | None = Field(None, description="Its python. Default: the one in its venv or .venv.")
    comfyui_args: list[str] = Field(default_factory=list, description="Extra ComfyUI arguments, as JSON list.")
    environments_dir: Path | None = Field(None, description="Where ComfyUI is installed. Default: in the data dir.")
    custom_nodes_dir: Path | None = Field(None, description="Folder of custom nodes that every worker loads.")
    model_dirs: list[Path] = Field(default_factory=list, description="Model folders (as ComfyUI's models/), read-only.")
    comfyui_memory_limit_bytes: int = Field(
        default_factory=default_memory_limit,
        gt=0,
        description="ComfyUI is started anew between two runs when it holds more memory. Default: 85 % of this host's.",
    )
    sandbox: Literal["auto", "bubblewrap", "landlock", "none"] = Field(
        "auto",
        description="auto takes the strongest level this host allows; a named level fails where it can't be had.",
    )
    sandbox_network: bool = Field(False, description="Let ComfyUI reach the network (nodes that call web services).")

    # Files
    fetch_allow: list[str] = Field(
        default_factory=list,
        description="Private addresses, networks (CIDR) and hosts that file URLs and webhooks may reach, "
        "comma-separated or as JSON.",
    )
    fetch_limit_bytes: int = Field(200 * GIB, gt=0, description="Largest file fetched for a run.")
    fetch_timeout_s: float = Field(
        3600.0, gt=0, description="Longest time one file may take to fetch, pauses that a busy host asks for included."
    )
    fetch_connections: int = Field(8, ge=1, le=32, description="Parallel ranges of one large download.")
    cache_limit_bytes: int = Field(100 * GIB, gt=0, description="Cap of the host's blob cache; least used go first.")
    webhook_retry_s: float = Field(24 * 3600.0, gt=0, description="How long an undelivered webhook is tried again.")

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
    def _as_browsers_write_them(cls, origins: list[str]) -> list[str]:
        return [origin if origin == "*" else _origin(origin) for origin in origins]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, CommaEnv(settings_cls), TomlConfigSettingsSource(settings_cls)

    def as_environment(self) -> dict[str, str]:
        """The settings that were set, as environment variables for a child process."""
        values = self.model_dump(mode="json", include=self.model_fields_set, exclude=SERVERS_OWN)
        return {
            f"COMFYWARD_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in values.items()
            if value is not None
        }

    def derived_environments_dir(self) -> Path:
        return self.environments_dir or self.data_dir / "environments"

    @property
    def mirrors_models(self) -> bool:
        """By default where the objects are elsewhere: on one host its own cache is enough."""
        return "://" in (self.objects_url or "") if self.mirror_models is None else self.mirror_models

    def database_file(self) -> Path:
        """Of SQLite, where no other database is set."""
        return self.data_dir / "comfyward.db"

    def derived_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.database_file()}"

    def derived_objects_url(self) -> str:
        return self.objects_url or str(self.data_dir / "objects")


def _origin(text: str) -> str:
    """An origin as browsers send it: lower case, without the scheme's own port. Raises ValueError."""
    parts = urlsplit(text.strip().lower())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or "*" in text:
        raise ValueError(f"'{text}' is no origin: write it as https://app.example.com, without a path, or * for any")
    own_port = {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, own_port) else "")
