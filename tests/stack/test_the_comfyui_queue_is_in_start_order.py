"""ComfyUI's queue lists runs in the order in which they start, and its numbers say the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.graphs import fake_save, fake_wait
from tests.stack.stack import Client


@pytest.fixture
def client(tenant: Client) -> Client:
    return tenant


def test_runs_put_in_front_and_runs_of_other_priorities(client: Client) -> None:
    client.http.headers["X-API-Key"] = client.key
    holds_up = client.submit(fake_wait(120))
    client.wait_for(holds_up, "progress")
    staged = client.submit(fake_save("staged"))  # a worker has it ready while it executes another
    client.wait_for(staged, "status", state="assigned")

    def short() -> dict[str, Any]:
        return fake_wait(0.3)  # longer than the reports of two starts take to overtake each other

    def prompt(**more: Any) -> str:
        return str(client.http.post("/comfy/prompt", json={"prompt": short(), **more}).json()["prompt_id"])

    def named(run_id: str) -> str:
        return str(client.get(run_id)["prompt_id"])

    last = named(client.submit(short(), priority=-5))
    plain, second = prompt(), prompt()
    front, next_front = prompt(front=True), prompt(number=-1)
    first = named(client.submit(short(), priority=50))

    queue = client.http.get("/comfy/queue").json()
    pending = [item[1] for item in queue["queue_pending"]]
    numbers = [item[0] for item in queue["queue_pending"]]
    assert [item[1] for item in queue["queue_running"]] == [named(holds_up)]
    assert pending == [named(staged), first, front, next_front, plain, second, last]
    assert numbers == sorted(set(numbers))

    client.cancel(holds_up)
    runs = {run["prompt_id"]: client.finish(run["id"]) for run in client.http.get("/api/v1/runs").json()}
    begun_at = [runs.pop(prompt_id)["started_at"] for prompt_id in (named(holds_up), *pending)]
    assert begun_at == sorted(begun_at)
    assert not runs
