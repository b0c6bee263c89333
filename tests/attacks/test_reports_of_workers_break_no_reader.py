"""A worker reports on its runs whatever it likes: nothing that is taken is a server error, now or when it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import blake3
import pytest

from comfyward.worker.protocol import LEASE_HEADER
from tests.attacks.hostile_inputs import HostileInputs
from tests.attacks.raw_worker import RawWorker, catalog_of, graph_of, worker_of
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

SEED, RUNS, REPORTS_EACH = 12, 40, 15
LAST = 1 << 30  # a report with a number that was used is passed over
DATA = "aGVsbG8="
OUTPUT = {"name": "a.txt", "digest": blake3.blake3(b"hello").hexdigest(), "size": 5, "content_type": "text/plain"}
OUTPUT |= {"node_id": "1", "text": "hello", "data": DATA}
SHOWN = {"outputs": {"1": {"text": ["hello"], "images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}}}
REPORTS: tuple[dict[str, Any], ...] = (
    {"type": "downloading", "path": "/input/a", "done": 1, "total": 2},
    {"type": "started", "seq": 1},
    {"type": "cached", "nodes": ["1"]},
    {"type": "progress", "node": "1", "value": 1.0, "maximum": 2.0, "done": 1, "total": 2, "part": 0.5, "display": "1"},
    {"type": "preview", "node": "1", "content_type": "image/png", "data": DATA},
    {"type": "produced", "seq": 2, "outputs": [OUTPUT], "shown": SHOWN, "previews": [OUTPUT], "order": ["a.txt"]},
)
FAILURE = {"message": "broke", "hint": "x", "exception_type": "ValueError", "node_id": "1", "node_type": "Paint"}
FAILURE |= {"traceback": ["a"], "details": {"a": 1}, "executed": ["1"], "current_inputs": {"a": ["b"]}}
ENDED = {"type": "ended", "seq": 3, "reason": "node_error", "outputs": [OUTPUT], "shown": SHOWN, "failure": FAILURE}
ENDED |= {"run_time_ms": 5, "log": "a line", "order": ["a.txt"]}
ENDS = (ENDED, {**ENDED, "reason": "completed", "failure": None})
READ_BY_PROGRAMS = (
    "/api/v1/runs?limit=100",
    "/api/v1/workflows/default/runs",
    "/api/v1/usage",
    "/api/v2/jobs",
    "/comfy/history",
    "/comfy/queue",
    "/comfy/api/jobs",
)
READ_ON_PAGES = ("/runs", "/files", "/account/usage", "/workflows")


@pytest.fixture
def stack(start_fake: StartFake) -> Stack:
    return start_fake(fleet="none", accelerators="L4", lease_s="3")


def test_of_reports(stack: Stack) -> None:
    client, visitor = stack.client("ada"), stack.visitor("ada")
    worker = worker_of(stack, "L4").joined(catalog_of("Paint"))
    hostile = HostileInputs((), {}, SEED)
    run_ids = [client.submit(graph_of(), accelerator="L4") for _ in range(RUNS)]

    statuses = [status for number in range(RUNS) for status in told(worker, hostile, ENDS[number % len(ENDS)])]

    while any(client.get(run_id)["status"] not in ("COMPLETED", "ERROR") for run_id in run_ids):
        if (asked := worker.ask(wait_s=1)).status_code == 200:  # for those whose lease ended meanwhile
            worker.end(asked.json()["lease"], seq=LAST)

    assert {status for status in statuses if status >= 500} == set()
    assert statuses.count(204) > RUNS  # some are taken
    for path in (*READ_BY_PROGRAMS, *(f"/api/v1/runs/{run_id}" for run_id in run_ids)):
        assert client.http.get(path).status_code == 200, path
    for path in (*READ_ON_PAGES, *(f"/runs/{run_id}" for run_id in run_ids)):
        assert visitor.get(path, follow_redirects=True).status_code == 200, path
    outputs = [output for run_id in run_ids for output in outputs_of(client.get(run_id))]
    assert outputs
    for output in outputs:
        assert client.http.get(output["url"]).status_code < 500, output
    for run_id in run_ids:
        assert [kind for kind, _, _ in client.events(run_id)][-1] == "status"
    assert "Traceback" not in (stack.data_dir / "server.log").read_text()


def outputs_of(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The files of a run; of one that failed there is the error in their place."""
    return run["output"] if isinstance(run["output"], list) else []


def told(worker: RawWorker, hostile: HostileInputs, ended: dict[str, Any]) -> Iterator[int]:
    """The statuses of reports on one run, each with one wrong part, until it has ended."""
    lease = worker.assigned()["lease"]
    memory = {"ram_total": 2, "ram_free": 1, "device_type": "cpu"}
    beat = {"worker_id": worker.id, "incarnation": worker.incarnation, "wait_s": 0}
    beat |= {"vitals": {"warm": ["a"], "memory_bytes": 1, "memory": memory, "limits": "x"}}
    for number in range(REPORTS_EACH):
        yield sent(worker, lease, hostile.changed(REPORTS[number % len(REPORTS)]))
        yield worker.call("POST", "heartbeat", content=hostile.changed({**beat, "leases": [lease]})).status_code
    yield sent(worker, lease, hostile.changed(ended))
    yield worker.end(lease, seq=LAST).status_code


def sent(worker: RawWorker, lease: str, report: bytes) -> int:
    body = b'{"lease":"%s","reports":[%s]}' % (lease.encode(), report)
    return worker.call("POST", "reports", headers={LEASE_HEADER: lease}, content=body).status_code
