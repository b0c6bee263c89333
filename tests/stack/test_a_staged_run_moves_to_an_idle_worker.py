"""A run staged behind a long one is executed by a worker that becomes idle, once, and whoever dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from comfyward.ids import new_id
from tests.attacks.raw_worker import RawWorker, worker_of
from tests.conftest import FakeSettings
from tests.stack.cluster import Worker
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait
from tests.stack.stack import Stack
from tests.stack.waiting import until


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="L4", affinity_wait_s="0", lease_s="60")


@pytest.fixture
def workers(stack: Stack, tmp_path: Path, fake_settings: FakeSettings) -> Iterator[list[Worker]]:
    """Two workers with the fake ComfyUI that have not started yet."""
    token = stack.cli("tokens", "create", "workers").strip()
    made = [Worker(name, stack.url, token, tmp_path / name, fake_settings()) for name in ("busy", "idle")]
    yield made
    for each in made:
        each.close()


@pytest.mark.several_servers
def test_the_second_run_ends_before_the_first(stack: Stack, workers: list[Worker]) -> None:
    client, [busy, idle] = stack.client(), workers
    busy.start()
    long = client.submit(fake_wait(600), accelerator="L4")
    client.wait_for(long, "status", state="running")
    staged = client.submit(fake_save("moved"), accelerator="L4")
    client.wait_for(staged, "staged")

    idle.start()
    run = client.finish(staged)

    assert (run["status"], run["retry_count"], run["worker_id"]) == ("COMPLETED", 0, "idle"), run["error"]
    states = [data["state"] for kind, data, _ in client.events(staged) if kind == "status"]
    assert states[:3] == ["queued", "assigned", "queued"]
    assert states[-2:] == ["running", "succeeded"]
    assert states.count("running") == 1  # it may be recalled again: it is kept for a worker for five seconds only
    assert client.get(long)["status"] == "STARTED"
    client.cancel(long)
    assert client.finish(long)["end_reason"] == "cancelled"


class Recalled:
    """Two workers by hand, of a pool of their own: one has a run staged, which is recalled for the other, that asks."""

    def __init__(self, stack: Stack, threads: ThreadPoolExecutor) -> None:
        self.stack, self.client = stack, stack.client()
        self.pool = f"pool-{new_id()[:8]}"
        self.busy, self.idle = worker_of(stack, self.pool).joined(), worker_of(stack, self.pool).joined()
        self.long = self._assigned("long")
        assert self.busy.report(self.long["lease"], {"type": "started", "seq": 1}).status_code == 204
        self.staged = self._assigned("staged")
        at = {"lease": self.staged["lease"], "reports": [], "staged": True}
        assert self.busy.call("POST", "reports", json=at).status_code == 204
        self._asked = [threads.submit(self.idle.ask, wait_s=60)]
        until(lambda recalled: recalled == [self.staged["lease"]], lambda: self.orders(wait_s=60))

    def submits(self, text: str) -> str:
        return self.client.submit({"1": {"class_type": "Paint", "inputs": {"text": text}}}, accelerator=self.pool)

    def orders(self, wait_s: float = 0) -> list[str]:
        answer = self.busy.heartbeat(self.long["lease"], self.staged["lease"], wait_s=wait_s)
        return list(answer.json()["recall"])

    def gives_back(self) -> None:
        assert self.busy.report(self.staged["lease"], {"type": "released", "seq": 1}).status_code == 204

    def idle_gets(self) -> dict[str, Any]:
        """The next run of the idle worker, which asks until it has one."""
        while True:
            try:
                answer = self._asked.pop().result() if self._asked else self.idle.ask()
            except httpx2.TransportError:  # the server was killed
                continue
            if answer.status_code == 200:
                return dict(answer.json())

    def executed_by(self, worker: RawWorker, lease: str) -> None:
        assert worker.end(lease).status_code == 204
        run = self.client.finish(self.staged["run_id"])
        assert (run["status"], run["worker_id"], run["retry_count"]) == ("COMPLETED", worker.id, 0)

    def _assigned(self, text: str) -> dict[str, Any]:
        self.submits(text)
        return self.busy.assigned()


@pytest.fixture
def recalled(stack: Stack) -> Iterator[Recalled]:
    with ThreadPoolExecutor() as threads:
        yield Recalled(stack, threads)


def test_one_that_starts_at_that_moment_is_executed_where_it_is(recalled: Recalled) -> None:
    started = recalled.busy.report(recalled.staged["lease"], {"type": "started", "seq": 1})

    assert started.status_code == 204
    assert recalled.orders() == []
    another = recalled.submits("another")
    assert recalled.idle_gets()["run_id"] == another
    recalled.executed_by(recalled.busy, recalled.staged["lease"])


@pytest.mark.several_servers
def test_its_former_worker_does_not_get_it_before_the_idle_one(recalled: Recalled) -> None:
    with ThreadPoolExecutor() as threads:
        asks = threads.submit(recalled.busy.ask, wait_s=3, idle=False, holding=[recalled.long["lease"]])
        recalled.gives_back()
        given = recalled.idle_gets()
        assert asks.result().status_code == 204

    assert (given["run_id"], given["attempt"]) == (recalled.staged["run_id"], 1)
    assert recalled.busy.end(recalled.staged["lease"]).status_code == 409
    recalled.executed_by(recalled.idle, given["lease"])


@pytest.mark.several_servers
def test_the_order_outlives_its_server(recalled: Recalled) -> None:
    recalled.stack.kill()
    recalled.stack.start()

    assert recalled.orders() == [recalled.staged["lease"]]
    recalled.gives_back()
    recalled.executed_by(recalled.idle, recalled.idle_gets()["lease"])


def test_if_the_idle_worker_has_another_run_meanwhile_the_former_one_gets_it(recalled: Recalled) -> None:
    another = recalled.submits("another")
    assert recalled.idle_gets()["run_id"] == another

    recalled.gives_back()
    given = until(lambda answer: answer.status_code == 200, recalled.busy.ask).json()

    assert (given["run_id"], given["attempt"]) == (recalled.staged["run_id"], 1)
    recalled.executed_by(recalled.busy, given["lease"])


def test_if_its_worker_dies_before_it_gives_it_back_nothing_is_lost(recalled: Recalled) -> None:
    assert recalled.busy.gone().status_code == 204

    given = [recalled.idle_gets() for _ in range(2)]

    assert {each["run_id"] for each in given} == {recalled.long["run_id"], recalled.staged["run_id"]}
