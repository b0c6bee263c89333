"""No worker runs until there is work; an idle one is stopped; the server says so meanwhile."""

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.waiting import until


def test_local_workers_scale_from_zero_and_back(start_fake: StartFake) -> None:
    stack = start_fake(local_min_workers="0", local_idle_timeout_s="1")
    client = stack.client()
    assert client.http.get("/readyz").status_code == 503
    assert [pool["name"] for pool in client.http.get("/api/v1/accelerators").json()] == ["CPU"]

    assert client.run(fake_save())["status"] == "COMPLETED"

    until(lambda status: status == 503, lambda: client.http.get("/readyz").status_code)  # the idle worker was stopped
    assert client.run(fake_save("again"))["status"] == "COMPLETED"
