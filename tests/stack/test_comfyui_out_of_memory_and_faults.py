"""Faults of GPUs (out of memory, a poisoned process) and misleading answers of ComfyUI."""

from pathlib import Path

from tests.stack.graphs import fake_save, node
from tests.stack.stack import Client, Stack


def test_out_of_memory_is_tried_once_more_on_a_freed_gpu(tenant: Client) -> None:
    run = tenant.run({"1": node("FakeOom", times=1, name="frees"), "2": node("FakeSave", text="fits now")})
    assert (run["status"], run["retry_count"]) == ("COMPLETED", 1)

    run = tenant.run({"1": node("FakeOom", times=99)})
    assert (run["status"], run["end_reason"], run["attempt"]) == ("ERROR", "oom", 2)
    assert "larger accelerator" in run["error"]["hint"]


def test_a_gpu_fault_poisons_the_process_so_it_is_replaced(shared: Stack, tenant: Client) -> None:
    tenant.run(fake_save("gets a ComfyUI of its own"))
    before = shared.comfyui_pid()

    run = tenant.run({"1": node("FakeGpuFault", times=1), "2": node("FakeSave", text="works")})

    assert (run["status"], run["retry_count"]) == ("COMPLETED", 1)
    assert shared.comfyui_pid() != before


def test_a_nodes_exception_is_the_graphs_and_comes_with_its_traceback(tenant: Client) -> None:

    run = tenant.run({"7": node("FakeError", message="this is broken")})

    assert (run["status"], run["end_reason"], run["retry_count"]) == ("ERROR", "node_error", 0)
    error = run["output"]["error"]
    assert (error["exception_type"], error["exception_message"]) == ("ValueError", "this is broken")
    assert (run["error"]["node_id"], run["error"]["node_type"]) == ("7", "FakeError")
    assert run["error"]["traceback"]


def test_a_graph_accepted_only_in_part_is_a_failure(tenant: Client) -> None:

    run = tenant.run({"1": node("FakePartial")})

    assert (run["status"], run["end_reason"]) == ("ERROR", "validation")
    assert "1" in run["output"]["error"]["details"]["node_errors"]


def test_a_websocket_that_says_nothing_does_not_lose_the_run(tenant: Client) -> None:

    run = tenant.run({"1": node("FakeSilent"), "2": node("FakeSave", text="quiet")})

    assert run["status"] == "COMPLETED", run["error"]


def test_a_link_among_the_outputs_is_not_followed(tenant: Client, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")

    run = tenant.run({"1": node("FakeLink", target=str(secret)), **{"2": fake_save()["1"]}})

    assert [output["filename"].rpartition("/")[2] for output in run["output"]] == ["fake_00001_.txt"]
