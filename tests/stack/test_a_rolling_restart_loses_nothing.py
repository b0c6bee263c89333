"""A rolling restart under load: no client sees an error, and each run has one result, its events and its webhooks."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.fakes.http import Receiver
from tests.stack.cluster import Cluster
from tests.stack.conftest import StartCluster
from tests.stack.graphs import fake_save
from tests.stack.stack import Client

AT_LEAST = 300  # runs; more while the restart goes on
EACH_S = 0.02


def test_two_servers_and_four_workers_restart_under_load(start_cluster: StartCluster, hook: Receiver) -> None:
    cluster = start_cluster(max_attempts="5")
    cluster.join(4)
    client = cluster.client()
    client.run(fake_save("ready"), accelerator="L4")
    restarting = threading.Thread(target=_restart_each, args=[cluster])
    restarting.start()

    submitted = _submit(client, hook, restarting)
    with ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(client.finish, submitted))

    assert {run["status"] for run in runs} == {"COMPLETED"}, cluster.logs()
    assert len({run["id"] for run in runs}) == len(submitted)
    assert [len(run["output"]) for run in runs] == [1] * len(submitted)
    for run_id in submitted[::10]:
        numbers = [number for _, _, number in client.events(run_id) if number is not None]
        assert numbers == list(range(1, len(numbers) + 1))
    _check_webhooks(hook, submitted)


def _submit(client: Client, hook: Receiver, restarting: threading.Thread) -> list[str]:
    submitted: list[str] = []
    while restarting.is_alive() or len(submitted) < AT_LEAST:
        number = len(submitted)
        webhook = hook.url if number % 10 == 0 else None
        submitted.append(client.submit(fake_save(str(number)), accelerator="L4", webhook=webhook))
        time.sleep(EACH_S)  # the steady rate
    return submitted


def _restart_each(cluster: Cluster) -> None:
    for server in cluster.servers:
        assert server.stop() == 0
        server.start()
    for worker in cluster.workers:
        assert worker.stop() == 0
        worker.start()


def _check_webhooks(hook: Receiver, submitted: list[str]) -> None:
    """Each told once of its start and once of its end, but for a receiver's answer that a stopping server missed."""
    wanted = {(run_id, status) for run_id in submitted[::10] for status in ("STARTED", "COMPLETED")}
    told = set()
    while told < wanted:
        body = json.loads(hook.next().body)
        told.add((body["id"], body["status"]))
    assert told == wanted
