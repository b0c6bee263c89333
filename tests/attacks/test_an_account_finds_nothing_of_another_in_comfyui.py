"""Another account finds nothing that a run left in ComfyUI: in memory, folders, code, cached results, processes."""

from __future__ import annotations

import pytest

from tests.stack.graphs import node, picture
from tests.stack.stack import Client, Stack, pids


def test_no_marker_of_another_account_in_memory_or_any_folder(shared: Stack) -> None:
    alice, bob = shared.client("alice-leaves"), shared.client("bob-looks")

    def spy(client: Client, marker: str) -> list[str]:
        run = client.run({"spy": node("FakeSpy", marker=marker)})
        return str(run["output"][0]["text"]).split() if run["output"] else []

    assert spy(alice, "alice-1") == []
    assert spy(alice, "alice-2") == ["alice-1"]  # of its own account: the spy is able to see
    assert spy(bob, "bob-1") == []
    assert spy(alice, "alice-3") == []


@pytest.mark.engine
def test_a_patched_executor_a_process_and_cached_results_end_with_their_account(real: Stack) -> None:
    alice, bob = real.client("alice-patches"), real.client("bob-runs")
    daemon = "outlives-its-run"

    def harm(what: str) -> None:
        assert alice.run({"1": node("TestHarm", what=what, target=daemon)})["status"] == "COMPLETED"

    def saved(client: Client) -> list[str]:
        return [each["filename"].rpartition("/")[2] for each in client.run(picture(prefix="secret"))["output"]]

    harm("patch")
    harm("daemon")
    assert saved(alice) == ["secret_00001_.png", "seen.txt"]  # the patch works, in its own account
    assert len(pids(daemon)) == 1

    run_id = bob.submit(picture(prefix="secret"))
    cached = bob.wait_for(run_id, "cached")["nodes"]
    bob.finish(run_id)
    files = [each["filename"].rpartition("/")[2] for each in bob.get(run_id)["output"]]

    assert cached == []  # nobody is told that somebody has made this picture before
    assert files == ["secret_00001_.png"]
    assert pids(daemon) == []
