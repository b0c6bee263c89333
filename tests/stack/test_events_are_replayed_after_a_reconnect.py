"""Server-Sent Events: numbered, complete, and each exactly once for a client that comes back."""

import pytest

from tests.stack.graphs import picture, slow
from tests.stack.stack import Client

pytestmark = pytest.mark.several_servers


def test_events_are_replayed_after_a_reconnect(client: Client) -> None:
    run_id = client.submit(picture())
    client.finish(run_id)

    events = [(number, kind) for kind, _, number in client.events(run_id)]

    assert events == [(1, "status"), (2, "status"), (3, "status"), (4, "output"), (5, "status")]
    for seen in range(1, 5):
        again = [number for _, _, number in client.events(run_id, after=seen)]
        assert again == list(range(seen + 1, 6))


def test_a_late_listener_sees_the_newest_progress(client: Client) -> None:
    run_id = client.submit(slow(2000))
    client.wait_for(run_id, "progress", node="1", max=2000)

    progress = client.wait_for(run_id, "progress", node="1")

    assert progress["max"] == 2000
    assert progress["nodes_total"] == 2
    client.cancel(run_id)
    assert client.finish(run_id)["end_reason"] == "cancelled"


def test_a_client_can_wait_for_a_run_in_one_request(client: Client) -> None:
    run_id = client.submit(picture())

    run = client.http.get(f"/api/v1/runs/{run_id}", params={"wait": 60}).json()

    assert run["status"] == "COMPLETED"
    run = client.http.get(f"/api/v1/workflows/default/runs/{run_id}", params={"wait": 1}).json()
    assert run["status"] == "COMPLETED"
    for wrong in ("soon", "-1", "nan", "1e9"):
        answer = client.http.get(f"/api/v1/workflows/default/runs/{run_id}", params={"wait": wrong})
        assert answer.status_code == 400, wrong
