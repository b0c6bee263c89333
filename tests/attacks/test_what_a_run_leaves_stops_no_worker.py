"""A run leaves folders without end, pipes, files of terabytes, odd names, or answers without end.

It ends with a reason that is its caller's, at once and once; the worker goes on, and another account's run succeeds.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyward.sandbox import removal
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, node
from tests.stack.stack import Stack

MOST_MEMORY_KIB = 1 << 20


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Iterator[Stack]:
    stack = start_fake_once().wait_ready()
    yield stack
    stack.close()
    removal.remove_tree(stack.data_dir)  # pytest cannot


@pytest.mark.parametrize(
    ("graph", "reason", "says"),
    [
        (node("FakeLitter", what="deep"), "over_limit", "nested more than 64 deep"),
        (node("FakeLitter", what="sparse"), "over_limit", "more than 20 GiB"),
        (node("FakeLitter", what="many"), "over_limit", "more than 10000 files"),
        (node("FakeEndless", where="history"), "over_limit", "longer than 32 MiB"),
        (node("FakeEndless", where="history gzip"), "over_limit", "longer than 32 MiB"),
        (node("FakeEndless", where="history br"), "over_limit", "longer than 32 MiB"),
        (node("FakeEndless", where="message"), "over_limit", "too long"),
    ],
)
def test_what_is_over_the_bounds_is_the_callers_fault(
    stack: Stack, graph: dict[str, Any], reason: str, says: str
) -> None:
    pid = stack.worker_pid()
    run = stack.client("mallory").run({"1": graph, "2": node("FakeSave", text="beside it")})

    assert (run["status"], run["end_reason"], run["attempt"]) == ("ERROR", reason, 1), run["error"]
    assert says in run["error"]["message"]
    assert_others_are_served(stack, pid)


def test_pipes_and_sockets_are_no_results(stack: Stack) -> None:
    pid = stack.worker_pid()
    graph = {"1": node("FakeLitter", what="pipes"), "2": node("FakeSave", text="beside them")}
    run = stack.client("mallory").run(graph)

    assert run["status"] == "COMPLETED", run["error"]
    assert [output["filename"].rpartition("/")[2] for output in run["output"]] == ["fake_00001_.txt"]
    assert_others_are_served(stack, pid)


def test_files_of_other_kinds_are_results_or_none(stack: Stack) -> None:
    pid, client = stack.worker_pid(), stack.client("mallory")
    run = client.run({"1": node("FakeLitter", what="odd"), "2": node("FakeSave", text="beside them")})

    assert run["status"] == "COMPLETED", run["error"]
    texts = {each["filename"].rpartition("/")[2]: client.http.get(each["url"]).text for each in run["output"]}
    own = {"closed.txt": "closed.txt", "noted.txt": "noted.txt", "twice.txt": "twice.txt", "again.txt": "twice.txt"}
    assert texts == {**own, "fake_00001_.txt": "beside them"}
    assert_others_are_served(stack, pid)


def test_a_comfyui_that_stops_itself_ends_with_its_run(stack: Stack) -> None:
    pid = stack.worker_pid()
    run = stack.client("mallory").run({"1": node("FakeStopped"), "2": node("FakeSave", text="never")}, timeout=2)

    assert (run["status"], run["end_reason"], run["attempt"]) == ("ERROR", "timeout", 1), run["error"]
    assert "ComfyUI does not stop; killing it" in stack.worker_log()
    assert_others_are_served(stack, pid)


def test_names_that_are_the_same_text_are_told_apart(stack: Stack) -> None:
    pid = stack.worker_pid()
    client = stack.client("mallory")
    run = client.run({"1": node("FakeLitter", what="names")})

    assert run["status"] == "COMPLETED", run["error"]
    names = [output["filename"] for output in run["output"]]
    assert sorted(names) == sorted({*names})
    assert len(names) == 6
    for output in run["output"]:
        assert client.http.get(output["url"]).content == b"the same bytes"
    assert_others_are_served(stack, pid)


@pytest.fixture
def single(start_fake: StartFake) -> Iterator[Stack]:
    """A server that tries no run again."""
    stack = start_fake(max_attempts="1").wait_ready()
    yield stack
    stack.close()
    removal.remove_tree(stack.data_dir)


def test_a_worker_starts_where_a_killed_one_left_folders_without_end(single: Stack) -> None:
    mallory, victim = single.client("mallory"), single.client("victim")
    graph = {"1": node("FakeLitter", what="deep"), "2": node("FakeDeaf", seconds=600)}
    run_id = mallory.submit(graph)
    mallory.wait_for(run_id, "progress", node="2")

    os.kill(single.worker_pid(), signal.SIGKILL)

    assert mallory.finish(run_id)["end_reason"] == "worker_lost"
    assert victim.run(fake_save("as ever"))["status"] == "COMPLETED"


def assert_others_are_served(stack: Stack, pid: int) -> None:
    """Another account's run succeeds, in the same worker, which never grew large."""
    assert stack.client("victim").run(fake_save("as ever"))["status"] == "COMPLETED"
    assert stack.worker_pid() == pid
    assert peak_memory_kib(pid) < MOST_MEMORY_KIB


def peak_memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
