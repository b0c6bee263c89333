"""The warm ComfyUI of a worker: one generation for many runs of one account in one environment, and a fresh one for
what is not of both.

The next generation is started while a run of the present one executes, if there is memory for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from comfyward.comfy.catalog import read_catalog
from comfyward.comfy.parents import ComfyParents
from comfyward.errors import EnvironmentFailed, SetupFailed
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.worker.engines import Engines
from comfyward.worker.generation import Generation
from comfyward.worker.memory import available_bytes

log = logging.getLogger(__name__)

SECOND_NEEDS_BYTES = 4 << 30  # ComfyUI without models, with as much again left for the run that executes


@dataclass(frozen=True)
class _Next:
    """A generation that is started for an account."""

    account: str
    generation: Generation
    starting: asyncio.Task[None]


class WarmComfyUI:
    """The generation that is in use, and perhaps the next one. Generations are numbered: the base folder of the default
    engine is the name of their folders without the number.

    `turn` is held by the run that executes. What generations leave is moved to `leftovers`.
    """

    def __init__(self, engines: Engines, parents: ComfyParents, client_id: str, leftovers: Path) -> None:
        self._engines, self._parents = engines, parents
        self._client_id, self._leftovers = client_id, leftovers
        self._numbers = itertools.count(1)
        self._current = self._new(DEFAULT_ENVIRONMENT)
        self._next: _Next | None = None
        self._is_trying = False
        self._catalog: tuple[str, bytes] | None = None
        self.turn = asyncio.Lock()

    @property
    def current(self) -> Generation:
        return self._current

    @property
    def account(self) -> str:
        """The account whose ComfyUI this is; "" if it is nobody's yet."""
        return self._current.account or ""

    @property
    def limits(self) -> str:
        """A word for what limits each ComfyUI."""
        return "cgroups" if self._parents.has_cgroups else "rlimits"

    async def ensure(self) -> None:
        """Returns when the present ComfyUI answers; starts it if needed, that of the default environment if no other
        one starts any more. Raises SetupFailed."""
        try:
            await self._current.ensure()
        except SetupFailed:
            if self._current.environment == DEFAULT_ENVIRONMENT:
                raise
            await self._replace(self._new(DEFAULT_ENVIRONMENT))
            await self._current.ensure()

    async def of(self, environment: str, account: str) -> Generation:
        """The running ComfyUI of an account in an environment, in which no other account's run was executed.

        Raises EnvironmentFailed, or SetupFailed for the default environment.
        """
        if not self._current.may_serve(environment, account):
            await self._switch(environment, account)
        self._current.account = account
        try:
            await self._current.ensure()
        except SetupFailed as error:
            if environment == DEFAULT_ENVIRONMENT:
                raise
            await self._replace(self._new(DEFAULT_ENVIRONMENT))
            raise EnvironmentFailed(error.message, hint=error.hint) from error
        return self._current

    def prepare(self, environment: str, account: str) -> None:
        """Starts a ComfyUI for an account whose run is next, unless there is one or the memory is needed."""
        if self._next is not None or self._is_trying or self._current.may_serve(environment, account):
            return
        if available_bytes() < SECOND_NEEDS_BYTES:
            return
        with contextlib.suppress(EnvironmentFailed):  # the run will be told
            generation = self._new(environment)
            self._next = _Next(account, generation, asyncio.create_task(generation.ensure(), name="next-comfyui"))

    @contextlib.asynccontextmanager
    async def on_trial(self, environment: str, learning_from: tuple[str, ...] = ()) -> AsyncIterator[Generation]:
        """A ComfyUI of an environment for nobody's runs, not started yet: beside the present one, or, if there is no
        memory for both, in its place between two runs. It may reach the hosts `learning_from`, and then tells what it
        fetches. Raises EnvironmentFailed."""
        async with contextlib.AsyncExitStack() as trial:
            if self._next is not None or available_bytes() < SECOND_NEEDS_BYTES:
                await trial.enter_async_context(self._stopped())
            generation = self._new(environment, learning_from)
            self._is_trying = True
            trial.callback(setattr, self, "_is_trying", False)
            trial.push_async_callback(generation.end)
            yield generation

    async def catalog(self) -> tuple[str, bytes]:
        """The catalog of the default environment, read once: later the folders that it lists hold files of runs."""
        if self._catalog is None:
            self._catalog = await read_catalog(self._current.client)
        return self._catalog

    async def close(self) -> None:
        """Stops every ComfyUI, and the parents that would fork another."""
        if self._next is not None:
            await self._drop_next()
        await self._current.stop()
        await self._parents.close()

    async def _switch(self, environment: str, account: str) -> None:
        """Ends the present generation before a run that it may not serve: its memory is the next one's."""
        following = self._next
        if following is not None and (following.account, following.generation.environment) != (account, environment):
            await self._drop_next()
            following = None
        generation = self._new(environment) if following is None else following.generation
        log.info("ComfyUI is started anew for another account or environment", extra={"action": "comfyui_switched"})
        self._next = None
        await self._replace(generation)
        if following is not None:
            with contextlib.suppress(SetupFailed):  # `ensure` tries again
                await following.starting

    async def _replace(self, generation: Generation) -> None:
        leaving, self._current = self._current, generation
        await leaving.end()

    @contextlib.asynccontextmanager
    async def _stopped(self) -> AsyncIterator[None]:
        """Waits for the run that executes; there is no ComfyUI in the block."""
        async with self.turn:
            if self._next is not None:
                await self._drop_next()
            await self._current.stop()
            yield
            with contextlib.suppress(SetupFailed):  # the next run tries again, and is told
                await self._current.ensure()

    async def _drop_next(self) -> None:
        assert self._next is not None
        dropped, self._next = self._next, None
        dropped.starting.cancel()
        await asyncio.gather(dropped.starting, return_exceptions=True)
        await dropped.generation.end()

    def _new(self, environment: str, learning_from: tuple[str, ...] = ()) -> Generation:
        """Raises EnvironmentFailed."""
        spec, name = self._engines.spec(environment), self._engines.default.base_dir
        base = name.with_name(f"{name.name}-{next(self._numbers)}")
        spec = replace(spec, base_dir=base)
        if learning_from:
            hosts = (*spec.egress.hosts, *learning_from)
            spec = replace(spec, egress=replace(spec.egress, hosts=hosts, is_recorded=True))
        return Generation(environment, spec, self._parents, self._client_id, self._leftovers)
