"""ComfyUI's queue lists runs in the order in which they start, and its numbers say the same."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from tests.stack.graphs import fake_wait
from tests.stack.stack import Client
from tests.stack.waiting import until


@pytest.fixture
def client(tenant: Client) -> Client:
    return tenant


def test_runs_put_in_front_and_runs_of_other_priorities(client: Client) -> None:
    client.http.headers["X-API-Key"] = client.key
    holds_up = client.submit(fake_wait(120))
    client.wait_for(holds_up, "progress")
    staged = client.submit(fake_wait(120))  # a worker has it ready while it executes another
    client.wait_for(staged, "status", state="assigned")

    def prompt(**more: Any) -> str:
        return str(client.http.post("/comfy/prompt", json={"prompt": fake_wait(120), **more}).json()["prompt_id"])

    def named(run_id: str) -> str:
        return str(client.get(run_id)["prompt_id"])

    last = named(client.submit(fake_wait(120), priority=-5))
    plain, second = prompt(), prompt()
    front, next_front = prompt(front=True), prompt(number=-1)
    first = named(client.submit(fake_wait(120), priority=50))

    queue = client.http.get("/comfy/queue").json()
    pending = [item[1] for item in queue["queue_pending"]]
    numbers = [item[0] for item in queue["queue_pending"]]
    assert [item[1] for item in queue["queue_running"]] == [named(holds_up)]
    assert pending == [named(staged), first, front, next_front, plain, second, last]
    assert numbers == sorted(set(numbers))

    run_ids = {run["prompt_id"]: run["id"] for run in client.http.get("/api/v1/runs").json()}
    assert set(run_ids) == {named(holds_up), *pending}
    for before, prompt_id in pairwise([named(holds_up), *pending]):
        client.cancel(run_ids[before])
        assert until(bool, partial(running_beside, client, before)) == [prompt_id]
    client.cancel(run_ids[pending[-1]])


def running_beside(client: Client, before: str) -> list[str]:
    """The prompts that are executed, but for one whose end may be told after the start of the next."""
    queue = client.http.get("/comfy/queue").json()
    return [item[1] for item in queue["queue_running"] if item[1] != before]
