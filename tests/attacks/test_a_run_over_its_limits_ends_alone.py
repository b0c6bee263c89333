"""A run takes memory, disk or processes of its host without end.

It ends once, in its caller's words. The worker goes on: the next run of the same account and one of another succeed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfyward.sandbox import walls
from comfyward.sandbox.inside import landlock
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, node
from tests.stack.stack import Stack

MIB = 1 << 20
LIMITS = {"sandbox_memory_bytes": f"{600 * MIB}", "sandbox_disk_bytes": f"{64 * MIB}", "sandbox_processes": "100"}
TOO_MUCH_DISK = "The run used more than 64 MiB of disk space, or left too many files."


@pytest.fixture(scope="module", params=["bubblewrap", "landlock"])
def level(request: pytest.FixtureRequest) -> str:
    works = walls.bubblewrap_works() if request.param == "bubblewrap" else landlock.abi() >= 6
    if not works:
        pytest.skip(f"this host allows no {request.param}")
    return str(request.param)


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, level: str) -> Iterator[Stack]:
    stack = start_fake_once(sandbox=level, **LIMITS).wait_ready()
    yield stack
    stack.close()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("memory", "The run used more memory than it may."),
        ("children", "The run used more than 600 MiB of memory."),
        ("output", TOO_MUCH_DISK),
        ("user", TOO_MUCH_DISK),
        ("log", TOO_MUCH_DISK),
        ("removed", TOO_MUCH_DISK),
        ("mapped", TOO_MUCH_DISK),
    ],
)
def test_a_run_that_takes_too_much_is_its_callers_fault(stack: Stack, what: str, says: str) -> None:
    assert_it_ends_alone(stack, what, says)


@pytest.mark.parametrize("level", ["bubblewrap"], indirect=True)  # elsewhere, root's processes are not counted
def test_a_run_that_starts_too_many_processes_is_its_callers_fault(stack: Stack) -> None:
    assert_it_ends_alone(stack, "processes", "The run started more processes or threads than it may.")


def assert_it_ends_alone(stack: Stack, what: str, says: str) -> None:
    pid, mallory = stack.worker_pid(), stack.client("mallory")

    run = mallory.run({"1": node("FakeGreedy", what=what), "2": node("FakeSave", text="never")})

    assert (run["status"], run["end_reason"], run["attempt"]) == ("ERROR", "over_limit", 1), run["error"]
    assert says in run["error"]["message"]
    for account in ("mallory", "victim"):
        after = stack.client(account).run(fake_save("as ever"))
        assert (after["status"], after["attempt"]) == ("COMPLETED", 1), after["error"]
    assert stack.worker_pid() == pid
