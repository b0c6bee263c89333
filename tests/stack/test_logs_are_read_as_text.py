"""Colours, titles and progress bars are for terminals."""

from tests.stack.graphs import node
from tests.stack.stack import Client, Stack


def test_of_a_run_and_of_a_worker(shared: Stack, tenant: Client) -> None:

    run = tenant.run({"1": node("FakeColours")})
    log = tenant.http.get(f"/api/v1/workflows/default/runs/{run['id']}/log").text
    of_worker = shared.visitor().get(f"/fleet/workers/{run['worker_id']}/log").text

    assert log == "green line\n100%|####|\n"
    assert "green line\n100%|####|\n" in of_worker
    assert "\x1b" not in of_worker
    assert " 50%" not in of_worker
