"""All settings, in one frozen object that the entry points read once and pass down.

Sources, strongest first: command-line flags, environment variables `COMFYWARD_*`, `comfyward.toml` in the working
directory. Nothing else in the package reads the environment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import ByteSize, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from comfyward.server_settings import GIB, ServerSettings, origin, split_commas

TOML_FILE = "comfyward.toml"  # in the working directory
SERVER_LOCK = "server.lock"  # a file in the data directory, held open by its server


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


class Settings(ServerSettings, BaseSettings):
    """The operator's settings. Every field has the environment variable `COMFYWARD_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix="COMFYWARD_", toml_file=TOML_FILE, frozen=True, extra="ignore", env_ignore_empty=True
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

    @field_validator("fetch_allow", "local_accelerators", "comfyui_args", "model_dirs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split_commas(value)

    @field_validator("comfyui_args")
    @classmethod
    def _are_single_arguments(cls, arguments: list[str]) -> list[str]:
        for argument in arguments:
            if argument.startswith("-") and " " in argument.partition("=")[0]:
                words = json.dumps(argument.split())
                raise ValueError(f"{argument!r} is more than one argument; write {words}")
        return arguments

    @field_validator("hugging_face_url", "civitai_url")
    @classmethod
    def _is_origin(cls, url: str) -> str:
        return origin(url)

    @field_validator("comfyui_version")
    @classmethod
    def _excludes_an_existing_comfyui(cls, version: str | None, info: ValidationInfo) -> str | None:
        if version is not None and info.data.get("comfyui") is not None:
            raise ValueError("the setting 'comfyui' names a ComfyUI that exists already; use one of the two")
        return version

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

    def derived_secret_keys_file(self) -> Path:
        return self.secret_keys_file or self.data_dir / "secret.keys"

    def database_file(self) -> Path:
        """The file of SQLite, used unless `database_url` is set."""
        return self.data_dir / "comfyward.db"

    def derived_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.database_file()}"

    def derived_objects_url(self) -> str:
        return self.objects_url or str(self.data_dir / "objects")
