"""The fleet of one machine: its workers are child processes of the server, one for each device."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfyward.fleet.devices import Device
from comfyward.fleet.fleet import Limits, WorkerState
from comfyward.fleet.host import WorkerHost

# Prefixes of variables with the server's credentials, which workers do not need, and with those of other workers.
SERVER_ONLY = (
    *("AWS_", "AZURE_", "GOOGLE_", "COMFYWARD_DATABASE", "COMFYWARD_OBJECTS", "COMFYWARD_OIDC"),
    "COMFYWARD_WORKER_TOKEN",
)


@dataclass(frozen=True)
class LocalWorkers:
    """The settings of local workers. They get the token in their environment, which no other user can read.

    The id of a worker is `id_prefix` and the index of its device.
    """

    id_prefix: str
    server_url: str
    token: str
    environment: Mapping[str, str]
    logs_dir: Path


class LocalFleet:
    """Implements `fleet.PausableFleet` and `fleet.OwnFleet` with child processes."""

    def __init__(
        self,
        devices: Sequence[Device],
        workers: LocalWorkers,
        limits: Limits,
        is_busy: Callable[[str], bool],
        on_exit: Callable[[str], Awaitable[None]],
        hint: asyncio.Event,
    ) -> None:
        """`limits` apply to each pool, `is_busy` takes a worker id, `on_exit` is awaited when a worker ends.

        `hint` wakes the loop that reconciles the fleet.
        """
        self._is_busy, self._limits, self._hint = is_busy, limits, hint
        self._paused: frozenset[str] = frozenset()
        self._devices = {f"{workers.id_prefix}{index}": device for index, device in enumerate(devices)}
        self._hosts = {
            worker_id: WorkerHost(
                worker_id,
                *_command(worker_id, device, workers),
                workers.logs_dir / f"{worker_id}.log",
                on_exit,
                without=SERVER_ONLY,
            )
            for worker_id, device in self._devices.items()
        }
        self._active_at = dict.fromkeys(self._devices, time.monotonic())

    def limits(self) -> Mapping[str, Limits]:
        """The limits of each pool: at most one worker for each of its devices that is not paused."""
        devices = Counter(device.pool for worker_id, device in self._devices.items() if worker_id not in self._paused)
        return {
            device.pool: Limits(
                devices[device.pool], min(self._limits.min, devices[device.pool]), self._limits.idle_timeout_s
            )
            for device in self._devices.values()
        }

    def pause(self, worker_ids: Collection[str]) -> None:
        """Replaces the set of paused workers, which are not started."""
        self._paused = frozenset(worker_ids)

    async def start(self, pool: str) -> None:
        for worker_id, device in self._devices.items():
            if device.pool == pool and worker_id not in self._paused and not self._hosts[worker_id].is_running:
                self._active_at[worker_id] = time.monotonic()
                return self._hosts[worker_id].start()

    async def stop(self, worker_id: str, grace_s: float) -> None:
        if host := self._hosts.get(worker_id):
            await host.stop(grace_s)

    async def list(self) -> Sequence[WorkerState]:
        now = time.monotonic()
        states = []
        for worker_id, host in self._hosts.items():
            busy = self._is_busy(worker_id)
            if busy:
                self._active_at[worker_id] = now
            if host.is_running:
                idle_s = now - self._active_at[worker_id]
                states.append(WorkerState(worker_id, self._devices[worker_id].pool, "running", busy, idle_s))
        return states

    async def close(self, grace_s: float) -> None:
        for host in self._hosts.values():
            await host.stop(grace_s)

    def slots(self) -> Mapping[str, int]:
        return Counter(device.pool for device in self._devices.values())

    def changed(self) -> None:
        self._hint.set()

    def problem(self) -> str | None:
        """The reason why no worker is ready, as far as the fleet knows."""
        for host in self._hosts.values():
            if host.failures > 1:
                return f"Worker {host.worker_id} keeps crashing:\n{host.last_words}"
        return None


def _command(worker_id: str, device: Device, workers: LocalWorkers) -> tuple[list[str], dict[str, str]]:
    """(command line, environment) of a worker."""
    description = json.dumps(
        {"pool": device.pool, "name": device.name, "args": device.comfyui_args, "environment": device.environment}
    )
    command = [sys.executable, "-m", "comfyward", "worker", "--server", workers.server_url]
    command += ["--id", worker_id, "--local"]
    environment = {
        "COMFYWARD_WORKER_TOKEN": workers.token,
        "COMFYWARD_WORKER_DEVICE": description,
        **workers.environment,
    }
    return command, environment
