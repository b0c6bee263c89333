"""The pools of a standalone fleet, configured by fleet.toml."""

from __future__ import annotations

import datetime
import re
import tomllib
import zoneinfo
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfyward.errors import SetupFailed
from comfyward.fleet.fleet import Limits

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_NAME_LENGTH = 20
# Ray's names of accelerators with other names here. Ray detects an A100 without its memory, so that nodes need a custom
# resource for each kind (docs/scale.md).
RAY_ACCELERATORS = {"A100_40GB": "A100-40G", "A100_80GB": "A100-80G"}
RAY_TYPE = "accelerator_type:"  # prefix of the resource that names a node's accelerator

_HOURS = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_POOL = {"accelerator", "min", "max", "idle_timeout_s", "prewarm", "gpus", "cpus", "memory_gib", "keep_warm"}


@dataclass(frozen=True)
class KeepWarm:
    """Hours in which a pool has at least `workers` workers. If `end` is before `begin`, they include midnight."""

    workers: int
    begin: datetime.time
    end: datetime.time
    days: frozenset[int]
    zone: zoneinfo.ZoneInfo

    def covers(self, now: datetime.datetime) -> bool:
        local = now.astimezone(self.zone)
        time, day = local.time(), local.weekday()
        if self.begin <= self.end:
            return day in self.days and self.begin <= time < self.end
        began_yesterday = (day - 1) % 7 in self.days and time < self.end
        return began_yesterday or (day in self.days and time >= self.begin)


@dataclass(frozen=True)
class PoolConfig:
    """One pool: the limits of its workers, and the resources of a node that each of them needs."""

    name: str
    accelerator: str | None  # Ray's name; None for workers without a GPU
    limits: Limits
    gpus: float = 1.0
    cpus: float = 0.0
    memory_bytes: int = 0
    keep_warm: tuple[KeepWarm, ...] = ()

    def limits_at(self, now: datetime.datetime) -> Limits:
        """The limits at a time, with the workers to keep warm in its hour."""
        limits = self.limits
        minimum = max([limits.min, *(each.workers for each in self.keep_warm if each.covers(now))])
        return Limits(limits.max, min(minimum, limits.max), limits.idle_timeout_s, limits.prewarm)

    def missing(self, resources: Collection[str], launching: Collection[str], failed: Collection[str]) -> str | None:
        """A sentence about the accelerator that a Ray cluster lacks for this pool; None if workers only have to wait.

        `resources` are the names of its nodes' resources, `launching` the types of nodes that its autoscaler has
        requested, and `failed` the autoscaler's descriptions of nodes that it could not get.
        """
        if self.accelerator is None or f"{RAY_TYPE}{self.accelerator}" in resources or launching:
            return None
        present = sorted(name.removeprefix(RAY_TYPE) for name in resources if name.startswith(RAY_TYPE))
        reason = f" Ray could not start: {'; '.join(sorted(failed))}." if failed else ""
        return (
            f"No node of the Ray cluster has the accelerator {self.accelerator} that pool {self.name} needs"
            f" (it has: {', '.join(present) or 'none'}).{reason} Its workers start when such a node joins."
        )


@dataclass(frozen=True)
class FleetConfig:
    """A fleet's file. `environment` has settings (COMFYWARD_…) of all workers."""

    name: str
    pools: Mapping[str, PoolConfig]
    environment: Mapping[str, str] = field(default_factory=dict)


def load_fleet(path: Path) -> FleetConfig:
    """Reads a fleet's file. Raises SetupFailed if it is invalid."""
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise SetupFailed(
            f"{path} cannot be read: {error.strerror}.", hint="See docs/scale.md for an example."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SetupFailed(f"{path} is not valid TOML: {error}.") from error
    _refuse_unknown(data, {"name", "pools", "environment"}, str(path))
    name = _text(data.get("name", "ray"), "name")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) or len(name) > MAX_NAME_LENGTH:
        raise SetupFailed(f"The fleet's name '{name}' must be 1 to {MAX_NAME_LENGTH} of a-z, 0-9, - and _.")
    pools = {pool: _pool(pool, values) for pool, values in _table(data.get("pools", {}), "pools").items()}
    if not pools:
        raise SetupFailed(f"{path} has no pools.", hint='Add one, such as [pools.L4] with "max = 2".')
    environment = _table(data.get("environment", {}), "environment")
    return FleetConfig(name, pools, {key: str(value) for key, value in environment.items()})


def _pool(name: str, values: Any) -> PoolConfig:
    where = f"pools.{name}"
    values = _table(values, where)
    _refuse_unknown(values, _POOL, where)
    most = _number(values.get("max", 1), f"{where}.max", whole=True)
    limits = Limits(
        int(most),
        int(_number(values.get("min", 0), f"{where}.min", whole=True)),
        _number(values.get("idle_timeout_s", 300), f"{where}.idle_timeout_s"),
        int(_number(values.get("prewarm", 0), f"{where}.prewarm", whole=True)),
    )
    if limits.min > limits.max:
        raise SetupFailed(f"{where}: min ({limits.min}) must be at most max ({limits.max}).")
    has_gpu = name != "CPU"
    accelerator = values.get("accelerator", RAY_ACCELERATORS.get(name, name) if has_gpu else None)
    return PoolConfig(
        name,
        accelerator if accelerator is None else _text(accelerator, f"{where}.accelerator"),
        limits,
        gpus=_number(values.get("gpus", 1 if has_gpu else 0), f"{where}.gpus"),
        cpus=_number(values.get("cpus", 0), f"{where}.cpus"),
        memory_bytes=int(_number(values.get("memory_gib", 0), f"{where}.memory_gib") * 1024**3),
        keep_warm=tuple(_keep_warm(each, f"{where}.keep_warm") for each in values.get("keep_warm", ())),
    )


def _keep_warm(values: Any, where: str) -> KeepWarm:
    values = _table(values, where)
    _refuse_unknown(values, {"workers", "hours", "days", "timezone"}, where)
    found = _HOURS.fullmatch(str(values.get("hours", "")))
    days = str(values.get("days", "mon-sun")).lower().split("-")
    try:
        if found is None:
            raise ValueError("hours")
        begin, end = (datetime.time(int(found[at]), int(found[at + 1])) for at in (1, 3))
        first, last = DAYS.index(days[0]), DAYS.index(days[-1])
        zone = zoneinfo.ZoneInfo(str(values.get("timezone", "UTC")))
    except (ValueError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise SetupFailed(
            f"{where} is not valid: {error}.",
            hint='Use { workers = 1, hours = "08:00-18:00", days = "mon-fri", timezone = "Europe/Zurich" }.',
        ) from error
    covered = {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    workers = int(_number(values.get("workers", 1), f"{where}.workers", whole=True))
    return KeepWarm(workers, begin, end, frozenset(covered), zone)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SetupFailed(f"'{where}' must be a table.")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise SetupFailed(f"'{where}' must be a string.")
    return value


def _number(value: Any, where: str, *, whole: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or (whole and value != int(value)):
        raise SetupFailed(f"'{where}' must be {'an integer' if whole else 'a number'} of at least 0.")
    return float(value)


def _refuse_unknown(values: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(values) - known):
        raise SetupFailed(f"{where}: unknown key '{unknown[0]}'.", hint=f"Known keys: {', '.join(sorted(known))}.")
