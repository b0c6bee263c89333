"""ComfyUI leaks with use: above its limit a new process takes its place, between runs and without a run noticing."""

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_wait
from tests.stack.waiting import until


def test_another_process_runs_what_comes_next(start_fake: StartFake) -> None:
    stack = start_fake(comfyui_memory_limit_bytes="1000").wait_ready()
    client = stack.client()
    first = stack.comfyui_pid()

    runs = [client.submit(fake_wait(0.5)) for _ in range(3)]

    assert [(run["status"], run["attempt"]) for run in map(client.finish, runs)] == [("COMPLETED", 1)] * 3
    until(lambda pids: bool(pids) and first not in pids, stack.comfyui_pids)  # the next one is on its way
    assert "starting it anew" in stack.worker_log()
