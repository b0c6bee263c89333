"""Requests that come at once with the same key: one makes a job, all others are refused (v2) or given it (v1)."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.stack.graphs import fake_save
from tests.stack.stack import Client

pytestmark = pytest.mark.several_servers


def test_at_the_same_time(tenant: Client) -> None:
    headers = {"Idempotency-Key": "order-1"}

    def v2(_: int) -> int:
        return tenant.http.post("/api/v2/jobs", json={"workflow": fake_save()}, headers=headers).status_code

    def v1(_: int) -> str:
        return str(tenant.post_run({"prompt": fake_save()}, **{"Idempotency-Key": "order-2"}).json()["id"])

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(v2, range(8)))
        ids = set(pool.map(v1, range(8)))

    assert statuses == [201] + [422] * 7
    assert len(ids) == 1
    assert len(tenant.http.get("/api/v1/runs").json()) == 2
