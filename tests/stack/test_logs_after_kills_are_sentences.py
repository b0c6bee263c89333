"""ComfyUI, its parent, a worker or a server is killed with runs going: what is left logs sentences, not tracebacks."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from comfyward.comfy.consumption import with_descendants
from tests.conftest import FakeSettings
from tests.stack.cluster import Worker
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait
from tests.stack.stack import Client, Stack

FAULTS = re.compile(r"Traceback|Unclosed|Exception ignored|was destroyed|never retrieved|never awaited|\n +File ")


def kill_comfyui(stack: Stack) -> None:
    os.kill(stack.comfyui_pid(), signal.SIGKILL)


def kill_all_below_the_worker(stack: Stack) -> None:
    worker = stack.worker_pid()
    for pid in with_descendants(worker) - {worker}:
        with contextlib.suppress(ProcessLookupError):  # it ended with one that was killed before
            os.kill(pid, signal.SIGKILL)


def kill_the_worker(stack: Stack) -> None:
    os.kill(stack.worker_pid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("kill", "says"),
    [
        (kill_comfyui, r"WARNING run {run_id}: ComfyUI is lost: ComfyUI \w+"),
        (kill_all_below_the_worker, r"WARNING run {run_id}: ComfyUI is lost: ComfyUI \w+"),
        (kill_the_worker, r"WARNING worker {worker_id} ended \(status -9\)"),
    ],
)
def test_of_a_server_and_its_worker(start_fake: StartFake, kill: Callable[[Stack], None], says: str) -> None:
    stack = start_fake().wait_ready()
    client = stack.client()
    run_id = begun(client)

    kill(stack)

    begun_again(client, run_id)
    client.cancel(run_id)
    assert client.finish(run_id)["end_reason"] == "cancelled"
    assert client.run(fake_save("after it"))["status"] == "COMPLETED"
    assert stack.stop() == 0
    logs = sentences(stack.data_dir / "server.log", *(stack.data_dir / "logs").glob("*.log"))
    assert len(re.findall(says.format(run_id=run_id, worker_id=stack.worker_id), logs)) == 1, logs


def test_of_a_worker_whose_server_is_killed(start_fake: StartFake, fake_settings: FakeSettings, tmp_path: Path) -> None:
    stack = start_fake(fleet="none", accelerators="L4", lease_s="60")
    token = stack.cli("tokens", "create", "gpu-box").strip()
    worker = Worker("gpu-box", stack.url, token, tmp_path / "gpu-box", fake_settings()).start()
    try:
        client = stack.client()
        run_id = begun(client, accelerator="L4")

        stack.kill()
        stack.start()

        client.cancel(run_id)
        assert client.finish(run_id)["end_reason"] == "cancelled"
        assert client.run(fake_save("after it"), accelerator="L4")["status"] == "COMPLETED"
        assert worker.stop() == 0
    finally:
        worker.close()
    assert stack.stop() == 0
    logs = sentences(stack.data_dir / "server.log", worker.data_dir / "worker.log")
    assert "WARNING heartbeat failed: " in logs


def begun(client: Client, **more: str) -> str:
    """A run that goes on until it is cancelled."""
    run_id = client.submit(fake_wait(600), **more)
    client.wait_for(run_id, "progress")
    return run_id


def begun_again(client: Client, run_id: str) -> None:
    """Returns once the run's second attempt executes."""
    starts = 0
    for kind, data, _ in client.events(run_id):
        starts += kind == "status" and data["state"] == "running"
        if starts == 2:
            return
    raise AssertionError(f"the run ended: {client.get(run_id)}")


def sentences(*logs: Path) -> str:
    """The logs, which are no more than that."""
    assert all(path.stat().st_size for path in logs)
    text = "\n".join(path.read_text() for path in logs)
    assert FAULTS.search(text) is None, text
    return text
