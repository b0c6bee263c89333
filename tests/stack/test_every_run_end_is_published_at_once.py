"""Every run that ends is counted, logged and traced once, and its webhook is sent at once.

The server of these scenarios never looks for webhooks because time has passed: it sends those that it is told of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy import Connection

from comfyward.delivery.traces import trace_id_of
from comfyward.store import accounts, tokens
from comfyward.store.db import now_ms
from tests.conftest import FakeSettings
from tests.fakes.http import Receiver, receiver
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

NEVER_POLLS = (
    "-c",
    "from comfyward.cli.main import main; from comfyward.delivery.webhooks import Webhooks;"
    "Webhooks.interval_s = 3600.0; main()",
)


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    """A receiver of traces."""
    with receiver() as served:
        yield served


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, fake_settings: FakeSettings, collector: Receiver
) -> Iterator[Stack]:
    settings = {"fleet": "none", "accelerators": "L4", "max_attempts": "1", "log_format": "json"}
    endpoint = collector.url.removesuffix("/hook")
    stack = Stack(
        tmp_path_factory.mktemp("told"),
        fake_settings(otel_endpoint=endpoint, **settings),
        environment={"OTEL_BSP_SCHEDULE_DELAY": "20"},
        program=NEVER_POLLS,
    )
    yield stack.start()
    stack.close()


@dataclass(frozen=True)
class Scene:
    """An account of its own, at a server where no worker waits."""

    stack: Stack
    account: str
    client: Client
    webhook: str

    def submit(self, **more: Any) -> str:
        return self.client.submit(fake_save(), accelerator="L4", webhook=self.webhook, **more)

    def limit_credit(self, limit: float) -> None:
        """Before the account's first request: servers remember callers for a moment."""
        self.stack.write(_limit_credit, self.account, limit)

    def worker(self) -> Worker:
        return Worker(self.stack, self.stack.write(tokens.create, self.account, now_ms()))


@dataclass(frozen=True)
class Worker:
    """A worker that somebody plays by hand."""

    stack: Stack
    token: str

    @property
    def id(self) -> str:
        return f"by-hand-{self.token[:12]}"

    def hello(self, life: str) -> None:
        hello = self.stack.worker_hello(self.token, id=self.id, incarnation=life, environment="default")
        assert hello.status_code == 200

    def ask(self, life: str, wait_s: float) -> int:
        ask = {"worker_id": self.id, "incarnation": life, "idle": True, "warm": [], "holding": []}
        return self.stack.worker_call(self.token, "lease", {**ask, "wait_s": wait_s, "heard": True}).status_code


def cancelled_in_the_queue(scene: Scene) -> str:
    run_id = scene.submit()
    scene.client.cancel(run_id)
    return run_id


def queued_when_its_account_is_deleted(scene: Scene) -> str:
    run_id = scene.submit()
    deleted = scene.stack.visitor(scene.account).post("/account/delete", data={"name": scene.account})
    assert deleted.status_code == 303
    return run_id


def past_its_deadline(scene: Scene) -> str:
    return scene.submit(start_within=0.01)


def out_of_credit_when_it_comes(scene: Scene) -> str:
    scene.limit_credit(0)
    return scene.submit()


def out_of_credit_when_it_is_its_turn(scene: Scene) -> str:
    scene.limit_credit(1)
    run_id = scene.submit()
    scene.limit_credit(0)
    worker = scene.worker()
    worker.hello("life")
    assert worker.ask("life", wait_s=1) == 204
    return run_id


def lost_with_its_worker(scene: Scene) -> str:
    worker, run_id = scene.worker(), scene.submit()
    worker.hello("first life")
    assert worker.ask("first life", wait_s=30) == 200
    worker.hello("second life")
    return run_id


ENDS = [
    (cancelled_in_the_queue, "cancelled", ["queue"]),
    (queued_when_its_account_is_deleted, "cancelled", ["queue"]),
    (past_its_deadline, "timeout", ["queue"]),
    (out_of_credit_when_it_comes, "insufficient_credit", ["queue"]),
    (out_of_credit_when_it_is_its_turn, "insufficient_credit", ["queue"]),
    (lost_with_its_worker, "worker_lost", ["queue", "stage"]),
]


@pytest.mark.parametrize(("end", "reason", "stages"), ENDS, ids=[end.__name__ for end, *_ in ENDS])
def test_however_a_run_ends(
    stack: Stack, hook: Receiver, collector: Receiver, end: Callable[[Scene], str], reason: str, stages: list[str]
) -> None:
    account = end.__name__
    scene = Scene(stack, account, stack.client(account), hook.url)
    before = _ended(stack, reason)

    run_id = end(scene)

    told = json.loads(hook.next().body)
    assert (told["id"], told["end_reason"]) == (run_id, reason)
    assert _ended(stack, reason) == before + 1
    assert _logged(stack, run_id) == [f"run {run_id} ended: {reason}"]
    assert _spans(collector, run_id) == ["run", *stages]


def _limit_credit(conn: Connection, name: str, limit: float) -> None:
    [account] = [account for account in accounts.find(conn) if account.name == name]
    accounts.set_credit_limit(conn, account.id, limit)


def _ended(stack: Stack, reason: str) -> float:
    """The number of runs with this end in the server's metrics."""
    text = stack.client().http.get("/metrics").text
    found = re.search(rf'^comfyward_runs_ended_total{{pool="L4",reason="{reason}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _logged(stack: Stack, run_id: str) -> list[str]:
    lines = (stack.data_dir / "server.log").read_text().splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    return [line["message"] for line in logged if line.get("action") == "run_ended" and line["run"] == run_id]


def _spans(collector: Receiver, run_id: str) -> list[str]:
    """The names of the spans of a run's trace, its root first."""
    while True:
        exported = ExportTraceServiceRequest.FromString(collector.next().body)
        spans = [span for of in exported.resource_spans for scope in of.scope_spans for span in scope.spans]
        names = [span.name for span in spans if int.from_bytes(span.trace_id, "big") == trace_id_of(run_id)]
        if names:
            return sorted(names, key=lambda name: name != "run")
