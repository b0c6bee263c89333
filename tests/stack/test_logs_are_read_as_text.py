"""Colours, titles and progress bars are for terminals."""

from tests.stack.conftest import StartFake
from tests.stack.graphs import node


def test_of_a_run_and_of_a_worker(start_fake: StartFake) -> None:
    stack = start_fake().wait_ready()
    client = stack.client()

    run = client.run({"1": node("FakeColours")})
    log = client.http.get(f"/api/v1/workflows/default/runs/{run['id']}/log").text
    of_worker = stack.visitor().get(f"/fleet/workers/{run['worker_id']}/log").text

    assert log == "green line\n100%|####|\n"
    assert "green line\n100%|####|\n" in of_worker
    assert "\x1b" not in of_worker
    assert " 50%" not in of_worker
