"""Limits, deadlines and larger pools, and what a waiting run is told of them."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from comfyward.store import accounts, queue
from tests import loopback
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait, node
from tests.stack.stack import Stack
from tests.stack.waiting import until


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    stack = start_fake_once(
        local_accelerators="L4,L4,H100", local_min_workers="3", accelerators="L4,H100", larger_pools='{"L4": "H100"}'
    ).wait_ready()
    # One that is there alone is also given the run after the one that it executes.
    until(lambda present: present == 3, lambda: loopback.get(f"{stack.own_url}/readyz").json().get("workers"))
    return stack


@pytest.fixture(scope="module")
def without_workers(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="L4")


@pytest.mark.several_servers
def test_an_account_is_limited_in_concurrent_runs(stack: Stack) -> None:
    capped, other = stack.client("capped"), stack.client("other")
    stack.cli("users", "share", "capped", "--max-running", "1")
    first = capped.submit(fake_wait(600), accelerator="L4")
    capped.wait_for(first, "progress")
    second = capped.submit(fake_save("second"), accelerator="L4")

    placed = capped.http.get(f"/api/v1/runs/{second}/placement").json()

    assert other.run(fake_save("not held up"), accelerator="L4")["status"] == "COMPLETED"
    assert (placed["waits_for"], placed["state"]) == ("account", "queued")
    assert "limit of concurrent runs" in placed["reason"]
    capped.cancel(first)
    runs = [capped.finish(run_id) for run_id in (first, second)]
    assert [run["end_reason"] for run in runs] == ["cancelled", "completed"]
    assert runs[0]["completed_at"] <= runs[1]["started_at"]
    assert capped.http.get(f"/api/v1/runs/{second}/placement").json()["waits_for"] is None
    assert other.http.get(f"/api/v1/runs/{second}/placement").status_code == 404


@pytest.mark.several_servers
def test_limits_of_a_key_and_of_an_account_in_one_pool(stack: Stack) -> None:
    client = stack.client("capped in L4")
    stack.cli("users", "share", "capped in L4", "--max-in", "L4=1")
    slow = stack.cli("keys", "create", "slow", "--account", "capped in L4", "--max-running", "1").strip()
    first = client.submit(fake_wait(600), accelerator="L4")
    client.wait_for(first, "progress")

    in_pool = client.submit(fake_save("waits for its account in L4"), accelerator="L4")
    placed = client.http.get(f"/api/v1/runs/{in_pool}/placement").json()
    assert (placed["waits_for"], placed["state"]) == ("account", "queued")

    headers = {"Authorization": f"Bearer {slow}"}
    body = {"prompt": fake_wait(2), "accelerator": "H100"}
    of_key = [client.http.post("/api/v1/workflows/default/runs", json=body, headers=headers).json()["id"] for _ in "ab"]
    runs = [client.finish(run_id) for run_id in of_key]
    assert runs[0]["completed_at"] <= runs[1]["started_at"]
    client.cancel(first)
    assert client.finish(in_pool)["status"] == "COMPLETED"
    assert "is not POOL=N" in str(stack.cli_error("users", "share", "capped in L4", "--max-in", "L4"))


def test_accounts_get_turns_by_their_weight(without_workers: Stack) -> None:
    heavy, light = without_workers.client("heavy"), without_workers.client("light")
    without_workers.cli("users", "share", "heavy", "--weight", "3")

    for number in range(8):
        for client in (light, heavy):
            client.submit(fake_save(str(number)), accelerator="L4")

    assert without_workers.write(_accounts_in_the_queue)[:8].count("heavy") == 6


@pytest.mark.several_servers
def test_a_run_that_cannot_start_in_time_ends(without_workers: Stack) -> None:
    client = without_workers.client()
    run = client.finish(client.submit(fake_save(), accelerator="L4", start_within=1.0))

    assert (run["status"], run["end_reason"]) == ("ERROR", "timeout")
    assert "did not start by its deadline" in run["error"]["message"]
    far = client.post_run({"prompt": fake_save(), "accelerator": "L4", "start_within": 1e308})
    assert (far.status_code, "start_within" in far.text) == (400, True)
    refused = client.post_run({"prompt": fake_save(), "accelerator": "L4", "start_within": -1})
    assert refused.status_code == 400


def test_a_run_that_does_not_fit_goes_to_the_larger_pool(stack: Stack) -> None:
    client = stack.client()
    # The fake counts for each worker: this takes the larger one's share of failures out of the way.
    assert client.run({"1": node("FakeOom", times=2)}, accelerator="H100")["end_reason"] == "oom"

    run = client.run({"1": node("FakeOom", times=2), "2": node("FakeSave", text="fits")}, accelerator="L4")

    assert (run["status"], run["retry_count"]) == ("COMPLETED", 2), run["error"]
    assert client.http.get(f"/api/v1/runs/{run['id']}/placement").json()["pool"] == "H100"
    assert run["accelerator"] == "L4"  # what was asked for


def test_a_run_that_has_waited_long_may_use_the_larger_pool(start_fake: StartFake) -> None:
    stack = start_fake(
        local_accelerators="H100", accelerators="L4,H100", larger_pools='{"L4": "H100"}', fallback_after_s="1"
    ).wait_ready()

    run = stack.client().run(fake_save("moved"), accelerator="L4")

    assert run["status"] == "COMPLETED"
    assert stack.client().http.get(f"/api/v1/runs/{run['id']}/placement").json()["pool"] == "H100"


def _accounts_in_the_queue(conn: Connection) -> list[str]:
    names = {account.id: account.name for account in accounts.find(conn)}
    heads = queue.heads(conn, {"L4": ["default"]}, 100)
    return [names[head.account_id] for head in sorted(heads, key=lambda head: (head.turn, head.queued_at, head.id))]
