"""A credit limit ends runs before the GPU is used, at submission and in the queue; not those that a worker has."""

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait


def test_runs_end_when_credit_runs_out(start_fake: StartFake) -> None:
    stack = start_fake(prices='{"CPU": 1000}').wait_ready()
    stack.cli("users", "create", "alice", "--credit-limit", "100")
    client, admin = stack.client("alice"), stack.client()

    stack.cli("users", "share", "alice", "--max-running", "1")  # so that no worker stages the second one ahead
    first = client.submit(fake_wait(1))  # costs 1000 credits
    waiting = client.submit(fake_save("waiting"))
    ends = [client.finish(run_id)["status"] for run_id in (first, waiting)]
    assert ends == ["COMPLETED", "INSUFFICIENT_CREDIT"]

    refused = client.run(fake_save("late"))
    assert (refused["status"], refused["end_reason"]) == ("INSUFFICIENT_CREDIT", "insufficient_credit")
    assert (refused["run_time"], refused["attempt"]) == (None, 0)
    me = client.http.get("/api/v1/me").json()
    assert me["credits_used"] > me["credit_limit"] == 100
    assert admin.run(fake_save("others go on"))["status"] == "COMPLETED"

    usage = client.http.get("/api/v1/usage", params={"by": "accelerator"}).json()
    [row] = usage["rows"]
    assert row["accelerator"] == "CPU"
    assert row["gpu_ms"] >= 1000
    assert abs(row["credits"] - row["gpu_ms"]) < 1  # 1000 credits a second


def test_a_run_that_a_worker_has_is_finished_and_charged(start_fake: StartFake) -> None:
    """It was accepted while there was credit, and its files are there: ending it would help nobody."""
    stack = start_fake(prices='{"CPU": 100000}').wait_ready()
    stack.cli("users", "create", "alice", "--credit-limit", "100")
    client = stack.client("alice")

    first = client.submit(fake_wait(600))  # a step of it costs 5000 credits
    client.wait_for(first, "progress")
    staged = client.submit(fake_wait(1))
    client.wait_for(staged, "staged")
    stack.end_wait()
    ends = [client.finish(run_id)["status"] for run_id in (first, staged)]

    assert ends == ["COMPLETED", "COMPLETED"]
    assert client.run(fake_save("late"))["end_reason"] == "insufficient_credit"
    [row] = client.http.get("/api/v1/usage", params={"by": "accelerator"}).json()["rows"]
    assert row["gpu_ms"] >= 1000
    assert client.http.get("/api/v1/me").json()["credits_used"] == row["credits"]
