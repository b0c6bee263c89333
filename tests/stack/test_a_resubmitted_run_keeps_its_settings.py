"""Retry, Run again and Run with changes: what the first run was asked for holds for the next one."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from comfyward.store import runs
from tests.stack.graphs import fake_save
from tests.stack.stack import Client, Stack

ASKED = {
    "priority": 7,
    "timeout": 90.0,
    "tags": ["sea", "night"],
    "webhook": "http://127.0.0.1:9/hook",
    "files": {"/input/a.txt": "data:text/plain,a"},
    "extra_data": {"extra_pnginfo": {"workflow": {"nodes": []}}},
}
SHOWN = ("accelerator", "data", "priority", "tags", "timeout", "webhook", "workflow_id")

Again = Callable[[Client, httpx2.Client, str], str]


def retry(client: Client, _: httpx2.Client, run_id: str) -> str:
    return str(client.http.post(f"/api/v1/workflows/default/runs/{run_id}/retry").json()["id"])


def run_again(_: Client, visitor: httpx2.Client, run_id: str) -> str:
    return visitor.post(f"/runs/{run_id}/again").headers["location"].rpartition("/")[2]


def run_with_changes(_: Client, visitor: httpx2.Client, run_id: str) -> str:
    return visitor.post(f"/runs/{run_id}/change").headers["location"].rpartition("/")[2]


@pytest.mark.parametrize("again", [retry, run_again, run_with_changes])
def test_what_the_first_run_was_asked_for_holds_for_the_next(shared: Stack, again: Again) -> None:
    client, visitor = shared.client(again.__name__), shared.visitor(again.__name__)
    first = client.run(fake_save(), start_within=600, **ASKED)

    second = client.finish(again(client, visitor, first["id"]))

    assert second["id"] != first["id"]
    assert {name: second[name] for name in SHOWN} == {name: first[name] for name in SHOWN}
    assert list(second["files"]) == ["/input/a.txt"]
    row = shared.write(runs.get_any, second["id"])
    assert row is not None
    assert row.start_by == row.created_at + 600_000


@pytest.mark.parametrize("again", [retry, run_again, run_with_changes])
def test_a_jobs_metadata_is_kept(shared: Stack, again: Again) -> None:
    client, visitor = shared.client(again.__name__), shared.visitor(again.__name__)
    job = client.http.post("/api/v2/jobs", json={"workflow": fake_save(), "metadata": {"customer": "7"}}).json()
    [first] = client.http.get("/api/v1/runs", params={"limit": 1}).json()
    client.finish(first["id"])

    second = client.get(again(client, visitor, first["id"]))

    assert second["prompt_id"] != job["id"]
    assert client.http.get(f"/api/v2/jobs/{second['prompt_id']}").json()["metadata"] == {"customer": "7"}
