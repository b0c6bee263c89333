"""Two servers on one database and one bucket: whatever is asked of one holds at the other, at once."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.http import Origin, Receiver
from tests.stack.cluster import Cluster
from tests.stack.conftest import StartCluster
from tests.stack.graphs import fake_save, fake_wait, node
from tests.stack.stack import END_TIMEOUT_S, Client
from tests.stack.waiting import until


@pytest.fixture
def both(cluster: Cluster) -> tuple[Client, Client]:
    """One account's clients of the two servers."""
    key = cluster.client().key
    return cluster.at(key, cluster.servers[0].url), cluster.at(key, cluster.servers[1].url)


def test_a_run_is_followed_on_another_server(both: tuple[Client, Client], site: Origin) -> None:
    begins = threading.Event()
    files = {"/input/begins": site.put("/begins", b"now", hold=begins)}
    run_id = both[0].submit(fake_wait(1.0), accelerator="L4", files=files)
    together = threading.Barrier(2, begins.set)

    def followed(client: Client) -> list[tuple[str, dict[str, Any], int | None]]:
        events = client.events(run_id)
        first = next(events)
        together.wait(END_TIMEOUT_S)
        return [first, *events]

    with ThreadPoolExecutor(2) as threads:
        told = list(threads.map(followed, both))

    for events in told:
        assert [number for kind, _, number in events if number is not None] == [1, 2, 3, 4, 5]
        assert [data["state"] for kind, data, _ in events if kind == "status"] == [
            "queued",
            "assigned",
            "running",
            "succeeded",
        ]
        assert any(kind == "progress" for kind, _, _ in events)  # which the worker told one server only
    assert both[1].get(run_id)["status"] == "COMPLETED"


def test_a_run_that_ends_is_counted_and_logged_by_one_server_whoever_follows_it(
    cluster: Cluster, both: tuple[Client, Client]
) -> None:
    before = _ended(both, "node_error")
    run_id = both[0].submit({"1": node("FakeError", message="no")}, accelerator="L4")

    with ThreadPoolExecutor(2) as threads:
        states = list(threads.map(lambda client: [data.get("state") for _, data, _ in client.events(run_id)][-1], both))

    assert states == ["failed", "failed"]
    assert _ended(both, "node_error") == before + 1
    assert cluster.logs().count(f"run {run_id} ended: node_error") == 1


def test_live_progress_reaches_who_comes_late_on_either_server(both: tuple[Client, Client]) -> None:
    run_id = both[0].submit(fake_wait(600), accelerator="L4")
    both[0].wait_for(run_id, "progress")

    for client in both:
        assert client.wait_for(run_id, "progress")["node"] == "1"
    assert both[1].cancel(run_id)["status"]
    assert both[0].finish(run_id)["end_reason"] == "cancelled"


def test_outputs_lie_in_the_bucket_and_are_handed_out_by_it(cluster: Cluster, both: tuple[Client, Client]) -> None:
    run = both[0].run(fake_save("in the bucket"), accelerator="L4")
    [output] = run["output"]

    answer = both[1].http.get(output["url"])

    assert answer.status_code == 307
    assert answer.headers["location"].startswith(cluster.s3.url)
    followed = both[1].http.get(output["url"], follow_redirects=True)
    assert followed.text == "in the bucket"
    assert followed.headers["content-type"].startswith("text/plain")
    page = both[1].http.get(output["url"], headers={"Sec-Fetch-Site": "same-origin"})  # our own pages load from us only
    assert (page.status_code, page.text) == (200, "in the bucket")
    assert any(key.startswith("blobs/") for key in cluster.s3.keys(cluster.bucket))


def test_an_upload_in_pieces_goes_on_at_another_server(both: tuple[Client, Client]) -> None:
    data = os.urandom(50_000)
    named = base64.b64encode(b"/input/large.bin").decode()
    begun = both[0].http.post(
        "/api/v1/uploads", headers={"Upload-Length": str(len(data)), "Upload-Metadata": f"path {named}"}
    )
    address = begun.headers["location"]
    for index, offset in enumerate(range(0, len(data), 10_000)):
        http = both[index % 2].http
        assert http.head(address).headers["upload-offset"] == str(offset)
        piece = http.patch(address, content=data[offset : offset + 10_000], headers={"Upload-Offset": str(offset)})
        assert piece.status_code == 204

    for client in both:
        sizes = {file["path"]: file["size"] for file in client.http.get("/api/v1/files").json()}
        assert sizes["/input/large.bin"] == len(data)


def test_two_pieces_at_the_same_place_and_one_is_kept(both: tuple[Client, Client]) -> None:
    named = base64.b64encode(b"/input/raced.bin").decode()
    headers = {"Upload-Length": "20000", "Upload-Metadata": f"path {named}"}
    address = both[0].http.post("/api/v1/uploads", headers=headers).headers["location"]
    together, answers = threading.Barrier(2), {}

    def append(client: Client, byte: bytes) -> None:
        together.wait(END_TIMEOUT_S)
        answers[byte] = client.http.patch(address, content=byte * 10_000, headers={"Upload-Offset": "0"}).status_code

    threads = [threading.Thread(target=append, args=pair) for pair in zip(both, (b"a", b"b"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert both[0].http.head(address).headers["upload-offset"] == "10000"
    assert sorted(answers.values()) == [204, 409]


def test_one_idempotency_key_at_both_makes_one_run(both: tuple[Client, Client]) -> None:
    together, made = threading.Barrier(2), []

    def submit(client: Client) -> None:
        together.wait(END_TIMEOUT_S)
        headers = {"Idempotency-Key": "once"}
        made.append(client.http.post("/api/v1/workflows/default/runs", json=_body(), headers=headers).json()["id"])

    for _ in range(5):
        threads = [threading.Thread(target=submit, args=[client]) for client in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(set(made)) == 1


def test_webhooks_come_once_and_in_order(cluster: Cluster, both: tuple[Client, Client], hook: Receiver) -> None:
    runs = [both[number % 2].submit(fake_save(str(number)), accelerator="L4", webhook=hook.url) for number in range(6)]
    for run_id in runs:
        both[0].finish(run_id)

    calls = [hook.next() for _ in range(12)]

    told: dict[str, list[str]] = {}
    for call in calls:
        told.setdefault(json.loads(call.body)["id"], []).append(json.loads(call.body)["status"])
    assert told == {run_id: ["STARTED", "COMPLETED"] for run_id in runs}
    assert len({call.headers["webhook-id"] for call in calls}) == 12
    assert hook.received.empty()


def test_a_revoked_key_is_refused_by_both_within_seconds(cluster: Cluster) -> None:
    key = cluster.servers[0].cli("keys", "create", "short-lived", "--account", "admin").strip().splitlines()[-1]
    clients = [cluster.at(key, server.url) for server in cluster.servers]
    assert [client.http.get("/api/v1/me").status_code for client in clients] == [200, 200]

    cluster.servers[1].cli("keys", "revoke", "short-lived", "--account", "admin")

    until(lambda seen: seen == [401, 401], lambda: [client.http.get("/api/v1/me").status_code for client in clients])


def test_a_worker_leaves_when_any_server_is_told_so(start_cluster: StartCluster) -> None:
    cluster = start_cluster()
    [worker] = cluster.join(1)
    visitors = [cluster.servers[0].visitor(), cluster.servers[1].visitor()]
    cluster.client().run(fake_save("it is there"), accelerator="L4")

    for visitor in visitors:
        log = visitor.get(f"/fleet/workers/{worker.name}/log")
        assert "ComfyUI" in log.text
    assert visitors[1].post(f"/fleet/workers/{worker.name}/restart").status_code == 303

    assert worker.process is not None
    assert worker.process.wait(END_TIMEOUT_S) == 0


def _ended(clients: tuple[Client, ...], reason: str) -> float:
    """The number of runs with this end, summed over all servers."""
    line = re.compile(rf'^comfyward_runs_ended_total{{pool="L4",reason="{reason}"}} (\S+)$', re.MULTILINE)
    return sum(float(count) for client in clients for count in line.findall(client.http.get("/metrics").text))


def _body() -> dict[str, object]:
    return {"prompt": fake_save("once"), "accelerator": "L4"}
