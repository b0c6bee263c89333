"""A run leaves tens of thousands of files where files of runs are linked: no later run finds one, or waits for them."""

from collections.abc import Iterator

import pytest

from comfyward.sandbox import removal
from tests.stack.conftest import StartFake
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack
from tests.stack.waiting import until

LITTER = {"1": node("FakeLitter", what="crowd")}
LOOK = {"1": node("FakeLook")}


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Iterator[Stack]:
    stack = start_fake_once().wait_ready()
    yield stack
    stack.close()
    removal.remove_tree(stack.data_dir)  # pytest cannot


def test_later_runs_find_nothing_and_the_files_are_removed(stack: Stack) -> None:
    mallory, victim, pid = stack.client("mallory"), stack.client("victim"), stack.worker_pid()
    littering, looking, others = mallory.submit(LITTER), mallory.submit(LOOK), victim.submit(LOOK)

    run = mallory.finish(littering)

    assert run["status"] == "COMPLETED", run["error"]
    assert [output["filename"].rpartition("/")[2] for output in run["output"]] == ["result.txt"]
    for client, run_id in ((mallory, looking), (victim, others)):
        assert shown(client, run_id) == "found []"
    assert stack.worker_pid() == pid
    leftovers = stack.data_dir / "workers" / stack.worker_id / "leftovers"
    until(lambda left: left == [], lambda: list(leftovers.iterdir()))


def shown(client: Client, run_id: str) -> str:
    run = client.finish(run_id)
    assert run["status"] == "COMPLETED", run["error"]
    [output] = run["output"]
    return client.http.get(output["url"]).text
