"""The fleet on a Ray cluster: Ray owns machines and places, a supervising actor there owns one worker process.

Nothing of a run goes by Ray. An actor starts `comfyward worker`, watches over it and tells the server when it has
ended; the worker itself needs the server's URL and its pool's token only, and never sees what could open the cluster.
Actors are detached and named: a fleet process that starts anew finds them.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import ray
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayError

from comfyward.errors import SetupFailed
from comfyward.fleet.fleet import Limits, WorkerState
from comfyward.fleet.host import WorkerHost
from comfyward.fleet.pools import RAY_TYPE, FleetConfig, PoolConfig
from comfyward.fleet.protocol import PREFIX, Gone, worker_token
from comfyward.ids import hash_secret, new_id

log = logging.getLogger(__name__)

# Ray's own settings, which are its key: no worker may see them.
SECRET_PREFIXES = ("RAY_", "COMFYWARD_FLEET_TOKEN")
ANSWER_TIMEOUT_S = 2.0
PLACED_WITHIN_S = 5.0
ACCELERATOR_SHARE = 0.001  # of the resource by which Ray knows an accelerator's type
LOG_LINES = 5


@dataclass(frozen=True)
class WorkerSpec:
    """What a supervisor starts."""

    worker_id: str
    pool: str
    server_url: str
    token: str
    environment: Mapping[str, str]

    @property
    def digest(self) -> str:
        """What tells workers that were started by another configuration, or for another server."""
        parts = [self.pool, self.server_url, self.token, sorted(self.environment.items())]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


class Supervisor:
    """A Ray actor: keeps one worker process running on its node until it is stopped."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        folder = Path(tempfile.gettempdir()) / f"comfyward-{os.getuid()}" / spec.worker_id
        command = [sys.executable, "-m", "comfyward", "worker", "--server", spec.server_url]
        command += ["--id", spec.worker_id, "--pool", spec.pool]
        environment = {"COMFYWARD_WORKER_TOKEN": spec.token, **spec.environment}
        self._host = WorkerHost(
            spec.worker_id, command, environment, folder / "worker.log", self._gone, without=SECRET_PREFIXES
        )
        self._is_stopping = False

    async def start(self) -> None:
        if not self._is_stopping:
            self._host.start()

    async def state(self) -> dict[str, Any]:
        """Where it is and how its worker does."""
        problem = None
        if self._host.failures > 1:
            problem = f"Worker {self._spec.worker_id} keeps ending:\n{self._host.log_tail(LOG_LINES)}"
        node = ray.get_runtime_context().get_node_id()
        return {"node": node, "spec": self._spec.digest, "problem": problem}

    async def stop(self, grace_s: float) -> None:
        self._is_stopping = True
        await self._host.stop(grace_s)

    async def _gone(self, worker_id: str) -> None:
        """The server need not wait for the lease to expire. Where it cannot be told, it does."""
        url = f"{self._spec.server_url.rstrip('/')}{PREFIX}/gone"
        headers = {"Authorization": f"Bearer {self._spec.token}"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)) as session,
                session.post(url, data=msgspec.json.encode(Gone(worker_id)), headers=headers),
            ):
                return
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("the server could not be told that %s has ended: %s", worker_id, error)


@dataclass
class _Known:
    """An actor as this process last saw it."""

    pool: str
    actor: Any
    since: float
    has_answered: bool = False
    stopping: asyncio.Task[None] | None = None


class RayFleet:
    """Implements `remote.RemoteFleet` with detached actors in a namespace of its own."""

    def __init__(self, config: FleetConfig, server_url: str, token: str, grace_s: float) -> None:
        """`grace_s` is how long a worker that has to go may take to finish."""
        self._config, self._server_url, self._token, self._grace_s = config, server_url, token, grace_s
        self._namespace = f"comfyward-{config.name}"
        self._known: dict[str, _Known] = {}

    def connect(self, address: str) -> None:
        """Raises SetupFailed when the cluster cannot be joined."""
        try:
            ray.init(address=address, namespace=self._namespace, log_to_driver=False, logging_level=logging.WARNING)
        except (RayError, ConnectionError, RuntimeError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise SetupFailed(
                f"The Ray cluster at {address} cannot be joined: {reason}.",
                hint="Check --address, RAY_AUTH_MODE and RAY_AUTH_TOKEN, and that Python and Ray are of the cluster's"
                " versions to the last digit.",
            ) from error

    @property
    def name(self) -> str:
        return self._config.name

    def token_hash(self, pool: str) -> str:
        return hash_secret(worker_token(self._token, pool))

    def limits(self) -> Mapping[str, Limits]:
        now = datetime.datetime.now(datetime.UTC)
        return {name: pool.limits_at(now) for name, pool in self._config.pools.items()}

    async def list(self) -> Sequence[WorkerState]:
        """Every actor of the namespace: the cluster knows them, whoever started them."""
        names = {each["name"] for each in await asyncio.to_thread(_actor_names, self._namespace)}
        for name in names - set(self._known):
            await self._adopt(name)
        for name in set(self._known) - names:
            self._forget(name)
        known = list(self._known.items())
        return [state for state in await asyncio.gather(*(self._state(*each) for each in known)) if state is not None]

    async def start(self, pool: str) -> None:
        config = self._config.pools[pool]
        worker_id = f"{self._config.name}-{pool}-{new_id()[:6].replace('_', '0').replace('-', '0')}"
        actor = await asyncio.to_thread(self._create, config, self._spec(worker_id, pool))
        self._known[worker_id] = _Known(pool, actor, time.monotonic())
        log.info("starting worker %s", worker_id, extra={"action": "worker_start"})

    async def stop(self, worker_id: str, grace_s: float) -> None:
        """Returns at once: a worker may take its time to finish."""
        known = self._known.get(worker_id)
        if known is not None and known.stopping is None:
            known.stopping = asyncio.create_task(self._stop(worker_id, known, grace_s))

    async def close(self, grace_s: float) -> None:
        """Leaves the workers as they are: the next fleet process finds them."""
        tasks = [known.stopping for known in self._known.values() if known.stopping is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(ray.shutdown)

    def _spec(self, worker_id: str, pool: str) -> WorkerSpec:
        token = worker_token(self._token, pool)
        return WorkerSpec(worker_id, pool, self._server_url, token, self._config.environment)

    def _create(self, config: PoolConfig, spec: WorkerSpec) -> Any:
        resources = {f"{RAY_TYPE}{config.accelerator}": ACCELERATOR_SHARE} if config.accelerator else {}
        options: dict[str, Any] = {
            "name": spec.worker_id,
            "namespace": self._namespace,
            "lifetime": "detached",
            "num_gpus": config.gpus,
            "num_cpus": config.cpus,
            "resources": resources,
            "max_restarts": 0,  # one owner of restarts: this fleet's loop
            "max_task_retries": 0,
        }
        if config.memory_bytes:
            options["memory"] = config.memory_bytes
        actor: Any = ray.remote(Supervisor).options(**options).remote(spec)
        actor.start.remote()
        return actor

    async def _adopt(self, name: str) -> None:
        """An actor that an earlier fleet process started; one that is none of ours has no business here."""
        try:
            actor = await asyncio.to_thread(ray.get_actor, name, self._namespace)
        except ValueError:
            return  # gone between the list and now
        pool = _pool_of(self._config.name, name)
        if pool is None:
            log.warning("actor %s is not of this fleet; ending it", name, extra={"action": "unknown_actor"})
            await asyncio.to_thread(ray.kill, actor)
            return
        self._known[name] = _Known(pool, actor, time.monotonic())

    async def _state(self, name: str, known: _Known) -> WorkerState | None:
        if known.stopping is not None:
            return WorkerState(name, known.pool, "stopping")
        try:
            answer = await asyncio.wait_for(asyncio.wrap_future(known.actor.state.remote().future()), ANSWER_TIMEOUT_S)
        except (TimeoutError, GetTimeoutError):
            return await self._silent(name, known)
        except (ActorDiedError, RayActorError) as error:
            return await self._dead(name, known, error)
        known.has_answered = True
        if answer["spec"] != self._spec(name, known.pool).digest:
            log.info("worker %s was started by another configuration; stopping it", name)
            await self.stop(name, self._grace_s)
            return WorkerState(name, known.pool, "stopping")
        return WorkerState(name, known.pool, "running", node=answer["node"], problem=answer["problem"])

    async def _silent(self, name: str, known: _Known) -> WorkerState:
        """Not placed yet; or on a node that does not answer, whose worker may well go on: its lease decides."""
        if known.has_answered:
            return WorkerState(name, known.pool, "running", problem=f"The node of worker {name} does not answer.")
        waited_s = time.monotonic() - known.since
        problem = await self._missing(known.pool) if waited_s > PLACED_WITHIN_S else None
        return WorkerState(name, known.pool, "unschedulable" if problem else "pending", problem=problem)

    async def _dead(self, name: str, known: _Known, error: Exception) -> WorkerState | None:
        reason = " ".join(str(error).split())
        self._forget(name)
        if "unschedulable" in reason.lower() or "infeasible" in reason.lower():
            problem = await self._missing(known.pool) or reason[:300]
            return WorkerState(name, known.pool, "unschedulable", problem=problem)
        log.warning("the actor of worker %s has died: %s", name, reason[:300], extra={"action": "actor_died"})
        return None

    async def _missing(self, pool: str) -> str | None:
        return await asyncio.to_thread(_missing, self._config.pools.get(pool))

    def _forget(self, name: str) -> None:
        known = self._known.pop(name, None)
        if known is not None and known.stopping is not None:
            known.stopping.cancel()

    async def _stop(self, worker_id: str, known: _Known, grace_s: float) -> None:
        try:
            if known.has_answered:
                stopped = asyncio.wrap_future(known.actor.stop.remote(grace_s).future())
                await asyncio.wait_for(stopped, grace_s + ANSWER_TIMEOUT_S)
        except (TimeoutError, RayError) as error:
            log.warning("worker %s did not stop by itself: %s", worker_id, error, extra={"action": "worker_killed"})
        finally:
            await asyncio.to_thread(ray.kill, known.actor)
            self._known.pop(worker_id, None)


def _actor_names(namespace: str) -> list[dict[str, str]]:
    found = ray.util.list_named_actors(all_namespaces=True)
    return [each for each in found if each["namespace"] == namespace]


def _pool_of(fleet: str, worker_id: str) -> str | None:
    """The pool that a worker's name speaks of: `<fleet>-<pool>-<id>`."""
    if not worker_id.startswith(f"{fleet}-"):
        return None
    pool, _, own = worker_id.removeprefix(f"{fleet}-").rpartition("-")
    return pool if pool and len(own) == 6 else None


def _missing(pool: PoolConfig | None) -> str | None:
    """Why the workers of a pool cannot be placed, as far as the cluster and its autoscaler (if any) tell."""
    if pool is None:
        return None
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    launching = [each.ray_node_type_name for each in status.pending_launches]
    launching += [each.ray_node_type_name for each in status.pending_nodes]
    failed = [f"{each.ray_node_type_name} ({each.details or 'no reason given'})" for each in status.failed_launches]
    return pool.missing(resources, launching, failed)
