"""A worker needs a URL and a token. It outlives its server, whose restart it does not notice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import FakeSettings
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait
from tests.stack.stack import END_TIMEOUT_S, Stack

pytestmark = pytest.mark.several_servers


@contextmanager
def worker(stack: Stack, token: str, data_dir: Path, settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **{f"COMFYWARD_{name.upper()}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "comfyward", "worker", "--server", stack.url, "--token", token, "--pool", "L4"]
    data_dir.mkdir()
    with (data_dir / "worker.log").open("wb") as log:
        process = subprocess.Popen([*command, "--data-dir", str(data_dir)], env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def test_a_worker_joins_by_itself_and_outlives_its_server(
    start_fake: StartFake, fake_settings: FakeSettings, tmp_path: Path
) -> None:
    stack = start_fake(fleet="none", accelerators="L4", lease_s="60")  # a restart takes less, under any load
    client = stack.client()
    token = stack.cli("tokens", "create", "gpu-box").strip()
    waiting = client.submit(fake_save("early"), accelerator="L4")

    with worker(stack, token, tmp_path / "gpu-box", fake_settings()) as process:
        assert client.finish(waiting)["status"] == "COMPLETED"
        running = client.submit(fake_wait(2), accelerator="L4")
        client.wait_for(running, "status", state="running")

        stack.kill()
        stack.start()

        run = client.finish(running)
        assert (run["status"], run["retry_count"]) == ("COMPLETED", 0), run["error"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_TIMEOUT_S) == 0
    assert client.http.get("/readyz").json() == {"status": "ready", "workers": 0}


def test_a_wrong_token_is_refused_before_anything_is_started(
    shared: Stack, fake_settings: FakeSettings, tmp_path: Path
) -> None:
    with worker(shared, "wrong", tmp_path / "stranger", fake_settings()) as process:
        assert process.wait(END_TIMEOUT_S) != 0
    assert "token" in (tmp_path / "stranger" / "worker.log").read_text()
    assert [each.name for each in (tmp_path / "stranger").iterdir()] == ["worker.log"]
