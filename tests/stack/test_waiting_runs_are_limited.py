"""An account that has too many runs waiting is told so in each API, and its next run is taken once there is room."""

import pytest

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save

pytestmark = pytest.mark.several_servers


def test_each_api_says_so_in_its_form(start_fake: StartFake) -> None:
    stack = start_fake(fleet="none", accelerators="CPU", max_waiting_runs="2")
    client, other = stack.client(), stack.client("other")
    first = client.submit(fake_save())
    client.submit(fake_save())

    v1 = client.post_run({"prompt": fake_save()})
    v2 = client.http.post("/api/v2/jobs", json={"workflow": fake_save()}, headers={"Idempotency-Key": "k"})
    native = client.http.post("/comfy/prompt", json={"prompt": fake_save()})

    assert (v1.status_code, v1.json()["code"]) == (429, "queue_full")
    assert (v2.status_code, v2.json()["error"]["code"], v2.headers["retry-after"]) == (429, "queue_full", "5")
    assert (native.status_code, native.json()["error"]["type"]) == (429, "queue_full")
    assert other.submit(fake_save())
    client.cancel(first)
    retried = client.http.post("/api/v2/jobs", json={"workflow": fake_save()}, headers={"Idempotency-Key": "k"})
    assert retried.status_code == 201  # the refusal did not use the key up
    assert retried.json()["queue_position"] == 2 + 1
