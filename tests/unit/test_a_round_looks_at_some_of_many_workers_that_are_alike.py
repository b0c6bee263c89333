"""Of many waiting workers that no run can tell apart a round gets some, those that wait longest; of others each one."""

from __future__ import annotations

import asyncio

from comfyward.dispatch.placement import Worker
from comfyward.dispatch.waiting import MOST_ALIKE, WaitingWorkers
from comfyward.runs.run import Run
from comfyward.store.notices import NoOthers

MORE = 5
ALIKE = [f"alike-{number}" for number in range(MOST_ALIKE + MORE)]
MODEL = frozenset(["/models/checkpoints/a.safetensors"])


def worker(name: str, warm: frozenset[str] = frozenset(), pool: str = "L4") -> Worker:
    return Worker(name, pool, "default", True, warm)


def asking(workers: WaitingWorkers) -> list[str]:
    return [each.id for each, _ in workers.asking]


async def wait(workers: WaitingWorkers, *who: Worker) -> list[asyncio.Task[Run | None]]:
    """Has some workers wait for a run, one after the other."""
    tasks = []
    for each in who:
        tasks.append(asyncio.create_task(workers.run_for(each, "device", 600)))
        await asyncio.sleep(0)
    return tasks


async def dismiss(workers: WaitingWorkers, tasks: list[asyncio.Task[Run | None]]) -> None:
    workers.dismiss()
    await asyncio.gather(*tasks)


def test_those_that_wait_longest_and_each_that_differs() -> None:
    async def scenario() -> None:
        workers = WaitingWorkers(NoOthers(), asyncio.Event())
        tasks = await wait(workers, *map(worker, ALIKE), worker("warm", MODEL), worker("elsewhere", pool="A100"))

        assert asking(workers) == [*ALIKE[:MOST_ALIKE], "warm", "elsewhere"]
        assert workers.pools == {"L4", "A100"}
        await dismiss(workers, tasks)
        assert (asking(workers), workers.pools, len(workers)) == ([], set(), 0)

    asyncio.run(scenario())


def test_the_others_once_these_have_runs() -> None:
    async def scenario() -> None:
        workers = WaitingWorkers(NoOthers(), asyncio.Event())
        tasks = await wait(workers, *map(worker, ALIKE))
        for name in asking(workers):
            workers.give(name, None)  # type: ignore[arg-type]  # which run it is makes no difference here

        assert asking(workers) == ALIKE[MOST_ALIKE:]
        await dismiss(workers, tasks)

    asyncio.run(scenario())


def test_one_that_asks_again_is_there_once_and_as_it_is_now() -> None:
    async def scenario() -> None:
        workers = WaitingWorkers(NoOthers(), asyncio.Event())
        tasks = await wait(workers, worker("w"), worker("w", MODEL))

        assert await tasks[0] is None
        assert [(each.id, each.warm) for each, _ in workers.asking] == [("w", MODEL)]
        await dismiss(workers, tasks)

    asyncio.run(scenario())
