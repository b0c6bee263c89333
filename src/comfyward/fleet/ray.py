"""The fleet on a Ray cluster: Ray manages machines and placement, and an actor supervises each worker process.

Runs never pass through Ray. An actor starts `comfyward worker`, supervises it, and tells the server when it has ended;
the worker needs only the server's URL and its pool's token, and gets no credentials of the cluster. Actors are detached
and named, so that a restarted fleet process finds them.
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
from comfyward.worker.protocol import SESSION_HEADER

log = logging.getLogger(__name__)

# Variables that give access to the cluster, the fleet or other workers, and that no worker may see.
SECRET_PREFIXES = ("RAY_", "COMFYWARD_FLEET_TOKEN", "COMFYWARD_WORKER_TOKEN")
REPLY_TIMEOUT_S = 2.0
PLACEMENT_TIMEOUT_S = 5.0
ACCELERATOR_SHARE = 0.001  # of the resource that names an accelerator's type


@dataclass(frozen=True)
class WorkerSpec:
    """The worker that a supervisor runs."""

    worker_id: str
    pool: str
    server_url: str
    token: str
    environment: Mapping[str, str]

    @property
    def digest(self) -> str:
        """A digest that differs for another configuration or server."""
        parts = [self.pool, self.server_url, self.token, sorted(self.environment.items())]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


class Supervisor:
    """A Ray actor that keeps one worker process running on its node until it is stopped."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        folder = Path(tempfile.gettempdir()) / f"comfyward-{os.getuid()}" / spec.worker_id
        command = [sys.executable, "-m", "comfyward", "worker", "--server", spec.server_url]
        command += ["--id", spec.worker_id, "--pool", spec.pool]
        environment = {"COMFYWARD_WORKER_TOKEN": spec.token, **spec.environment}
        self._host = WorkerHost(
            spec.worker_id, command, environment, folder / "worker.log", self._report_exit, without=SECRET_PREFIXES
        )
        self._is_stopping = False

    async def start(self) -> None:
        if not self._is_stopping:
            self._host.start()

    async def state(self) -> dict[str, Any]:
        """The actor's node, the digest of its spec, and the problem of its worker, if any."""
        problem = None
        if self._host.failures > 1:
            problem = f"Worker {self._spec.worker_id} keeps crashing:\n{self._host.last_words}"
        node = ray.get_runtime_context().get_node_id()
        return {"node": node, "spec": self._spec.digest, "problem": problem}

    async def stop(self, grace_s: float) -> None:
        self._is_stopping = True
        await self._host.stop(grace_s)

    async def _report_exit(self, worker_id: str) -> None:
        """Tells the server, which otherwise waits for the worker's lease to expire."""
        url = f"{self._spec.server_url.rstrip('/')}{PREFIX}/gone"
        headers = {"Authorization": f"Bearer {self._spec.token}", SESSION_HEADER: self._host.secret}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REPLY_TIMEOUT_S)) as session,
                session.post(url, data=msgspec.json.encode(Gone(worker_id)), headers=headers),
            ):
                return
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("cannot tell the server that %s has ended: %s", worker_id, error)


class _Actor:
    """A supervisor's actor, as this process knows it."""

    def __init__(self, pool: str, handle: Any) -> None:
        self.pool, self.handle, self.known_since = pool, handle, time.monotonic()
        self.has_answered = False
        self.stopping: asyncio.Task[None] | None = None


class RayFleet:
    """Implements `remote.RemoteFleet` with detached actors in a namespace of its own."""

    def __init__(self, config: FleetConfig, server_url: str, token: str, grace_s: float) -> None:
        """`grace_s` limits the time that a worker may take to finish its runs."""
        self._config, self._server_url, self._token, self._grace_s = config, server_url, token, grace_s
        self._namespace = f"comfyward-{config.name}"
        self._actors: dict[str, _Actor] = {}

    def connect(self, address: str) -> None:
        """Joins the cluster. Raises SetupFailed."""
        try:
            ray.init(address=address, namespace=self._namespace, log_to_driver=False, logging_level=logging.WARNING)
        except (RayError, ConnectionError, RuntimeError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise SetupFailed(
                f"The Ray cluster at {address} cannot be joined: {reason}.",
                hint="Check --address, RAY_AUTH_MODE and RAY_AUTH_TOKEN, and that Python and Ray have exactly the"
                " cluster's versions.",
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
        """The workers of all actors in the namespace, including those that another process started."""
        names = {each["name"] for each in await asyncio.to_thread(_actor_names, self._namespace)}
        for name in names - set(self._actors):
            await self._adopt(name)
        for name in set(self._actors) - names:
            self._discard(name)
        states = await asyncio.gather(*(self._state(*each) for each in list(self._actors.items())))
        return [state for state in states if state is not None]

    async def start(self, pool: str) -> None:
        config = self._config.pools[pool]
        worker_id = f"{self._config.name}-{pool}-{new_id()[:6].replace('_', '0').replace('-', '0')}"
        handle = await asyncio.to_thread(self._create, config, self._spec(worker_id, pool))
        self._actors[worker_id] = _Actor(pool, handle)
        log.info("starting worker %s", worker_id, extra={"action": "worker_start"})

    async def stop(self, worker_id: str, grace_s: float) -> None:
        """Starts draining a worker, and returns before it has ended."""
        actor = self._actors.get(worker_id)
        if actor is not None and actor.stopping is None:
            actor.stopping = asyncio.create_task(self._stop(worker_id, actor, grace_s))

    async def close(self, grace_s: float) -> None:
        """Leaves the workers running, for the next fleet process to adopt."""
        tasks = [actor.stopping for actor in self._actors.values() if actor.stopping is not None]
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
            "max_restarts": 0,  # restarts are left to this fleet's loop
            "max_task_retries": 0,
        }
        if config.memory_bytes:
            options["memory"] = config.memory_bytes
        handle: Any = ray.remote(Supervisor).options(**options).remote(spec)
        handle.start.remote()
        return handle

    async def _adopt(self, name: str) -> None:
        """Adds an actor that another process of the fleet started; kills one with a foreign name."""
        try:
            handle = await asyncio.to_thread(ray.get_actor, name, self._namespace)
        except ValueError:
            return  # it has ended since it was listed
        pool = _pool_of(self._config.name, name)
        if pool is None:
            log.warning("actor %s does not belong to this fleet; killing it", name, extra={"action": "unknown_actor"})
            await asyncio.to_thread(ray.kill, handle)
            return
        self._actors[name] = _Actor(pool, handle)

    async def _state(self, name: str, actor: _Actor) -> WorkerState | None:
        if actor.stopping is not None:
            return WorkerState(name, actor.pool, "stopping")
        try:
            answer = await asyncio.wait_for(asyncio.wrap_future(actor.handle.state.remote().future()), REPLY_TIMEOUT_S)
        except (TimeoutError, GetTimeoutError):
            return await self._unresponsive(name, actor)
        except (ActorDiedError, RayActorError) as error:
            return await self._dead(name, actor, error)
        actor.has_answered = True
        if answer["spec"] != self._spec(name, actor.pool).digest:
            log.info("worker %s has an outdated configuration; stopping it", name)
            await self.stop(name, self._grace_s)
            return WorkerState(name, actor.pool, "stopping")
        return WorkerState(name, actor.pool, "running", node=answer["node"], problem=answer["problem"])

    async def _unresponsive(self, name: str, actor: _Actor) -> WorkerState:
        """The state of an actor that is not placed yet, or whose node does not answer; its worker may still run."""
        if actor.has_answered:
            return WorkerState(name, actor.pool, "running", problem=f"The node of worker {name} does not answer.")
        waited_s = time.monotonic() - actor.known_since
        problem = await self._placement_problem(actor.pool) if waited_s > PLACEMENT_TIMEOUT_S else None
        return WorkerState(name, actor.pool, "unschedulable" if problem else "pending", problem=problem)

    async def _dead(self, name: str, actor: _Actor, error: Exception) -> WorkerState | None:
        reason = " ".join(str(error).split())
        self._discard(name)
        if "unschedulable" in reason.lower() or "infeasible" in reason.lower():
            problem = await self._placement_problem(actor.pool) or reason[:300]
            return WorkerState(name, actor.pool, "unschedulable", problem=problem)
        log.warning("the actor of worker %s has died: %s", name, reason[:300], extra={"action": "actor_died"})
        return None

    async def _placement_problem(self, pool: str) -> str | None:
        return await asyncio.to_thread(_placement_problem, self._config.pools.get(pool))

    def _discard(self, name: str) -> None:
        actor = self._actors.pop(name, None)
        if actor is not None and actor.stopping is not None:
            actor.stopping.cancel()

    async def _stop(self, worker_id: str, actor: _Actor, grace_s: float) -> None:
        try:
            if actor.has_answered:
                stopped = asyncio.wrap_future(actor.handle.stop.remote(grace_s).future())
                await asyncio.wait_for(stopped, grace_s + REPLY_TIMEOUT_S)
        except (TimeoutError, RayError) as error:
            log.warning("worker %s did not stop in time: %s", worker_id, error, extra={"action": "worker_killed"})
        finally:
            await asyncio.to_thread(ray.kill, actor.handle)
            self._actors.pop(worker_id, None)


def _actor_names(namespace: str) -> list[dict[str, str]]:
    found = ray.util.list_named_actors(all_namespaces=True)
    return [each for each in found if each["namespace"] == namespace]


def _pool_of(fleet: str, worker_id: str) -> str | None:
    """The pool in a worker's name, `<fleet>-<pool>-<id>`; None for any other name."""
    if not worker_id.startswith(f"{fleet}-"):
        return None
    pool, _, own = worker_id.removeprefix(f"{fleet}-").rpartition("-")
    return pool if pool and len(own) == 6 else None


def _placement_problem(pool: PoolConfig | None) -> str | None:
    """The reason why a pool's workers cannot be placed, according to the cluster and its autoscaler, if any."""
    if pool is None:
        return None
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    launching = [each.ray_node_type_name for each in status.pending_launches]
    launching += [each.ray_node_type_name for each in status.pending_nodes]
    failed = [f"{each.ray_node_type_name} ({each.details or 'no reason given'})" for each in status.failed_launches]
    return pool.missing(resources, launching, failed)
