"""Workers on a Ray cluster: from zero and back, found again, lost and replaced; each run has one result."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FakeSettings
from tests.fakes.http import Origin
from tests.ray_cluster import AutoscaledRay, RayCluster, autoscaled_ray, ray_cluster
from tests.servers import free_port
from tests.stack.conftest import StartFake
from tests.stack.graphs import TOLD, fake_save, fake_wait, fake_wait_as_told
from tests.stack.stack import END_TIMEOUT_S, Client, Stack, pids

# A second cluster beside it would be in the way of its own.
pytestmark = pytest.mark.xdist_group("ray")


class Fleet:
    """`comfyward fleet ray`, beside the cluster."""

    def __init__(
        self, stack: Stack, cluster: RayCluster | AutoscaledRay, folder: Path, settings: dict[str, str]
    ) -> None:
        self.stack, self.cluster, self.folder = stack, cluster, folder
        self.token = stack.cli("tokens", "create", "ray", "--fleet").strip()
        environment = {f"COMFYWARD_{name.upper()}": value for name, value in settings.items()}
        environment["COMFYWARD_DATA_DIR"] = str(folder / "workers")
        lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in environment.items())
        (folder / "fleet.toml").write_text(
            f"""
            [pools.T4]
            max = 2
            idle_timeout_s = 3
            [pools.A100_80GB]
            max = 1
            idle_timeout_s = 3
            [pools.H100]
            max = 1
            [environment]
            {lines}
            """
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Fleet:
        command = [sys.executable, "-m", "comfyward", "fleet", "ray", "--address", self.cluster.address]
        command += ["--config", str(self.folder / "fleet.toml"), "--server", self.stack.url, "--grace", "10"]
        environment = {**os.environ, "COMFYWARD_FLEET_TOKEN": self.token}
        with (self.folder / "fleet.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return self

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def __enter__(self) -> Fleet:
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Its workers go too: a fleet leaves them to the next one."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        for pid in _workers(self):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """The supervising process and the one that speaks to Ray."""
        assert self.process is not None
        for pid in (self.process.pid, *pids(rf"comfyward fleet ray --address {self.cluster.address}")):
            with contextlib.suppress(ProcessLookupError):  # it ended with the one before
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def status(self) -> dict[str, dict[str, Any]]:
        return {row["pool"]: row for row in json.loads(self.stack.cli("fleet", "status", "--json"))}

    def log(self) -> str:
        return (self.folder / "fleet.log").read_text()[-4000:]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as running:
        running.add("A100-80G")
        yield running


@pytest.fixture(scope="module")
def t4_nodes(cluster: RayCluster) -> list[Any]:
    return [cluster.add("T4"), cluster.add("T4")]


@pytest.fixture(scope="module")
def fleet(
    start_fake_once: StartFake,
    fake_settings: FakeSettings,
    cluster: RayCluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    """One for the scenarios that leave a fleet behind which works."""
    stack = start_fake_once(fleet="none", lease_s="8", max_attempts="5")
    with Fleet(stack, cluster, tmp_path_factory.mktemp("fleet"), fake_settings()) as fleet:
        _until(lambda: fleet.status().get("A100_80GB"), fleet)
        yield fleet


def test_from_zero_and_back_by_accelerator(fleet: Fleet) -> None:
    client = fleet.stack.client()

    run = client.run(fake_save("from zero"), accelerator="A100_80GB")

    assert (run["status"], run["retry_count"]) == ("COMPLETED", 0), fleet.log()
    _until(lambda: fleet.status()["A100_80GB"]["running"] == 0 and not _workers(fleet), fleet)


def test_a_pool_that_can_never_be_satisfied_says_so_within_seconds(fleet: Fleet) -> None:
    client = fleet.stack.client()
    run_id = client.submit(fake_save(), accelerator="H100")

    problem = _until(lambda: fleet.status()["H100"]["problem"], fleet)

    assert "No node of the Ray cluster has the accelerator H100" in problem
    assert "it has: A100-80G" in problem
    assert client.get(run_id)["status"] == "QUEUED"
    client.cancel(run_id)
    _until(lambda: fleet.status()["H100"]["pending"] == 0, fleet)


def test_a_killed_worker_is_started_again_at_once(fleet: Fleet, site: Origin) -> None:
    client = fleet.stack.client()
    run_id = _waiting(client, "A100_80GB", site)

    worker = _worker_of(fleet, run_id)
    os.kill(worker, signal.SIGKILL)

    run = client.finish(run_id)
    assert (run["status"], run["retry_count"], len(run["output"])) == ("COMPLETED", 1, 1), fleet.log()


def test_a_killed_actor_is_replaced(fleet: Fleet, site: Origin) -> None:
    client = fleet.stack.client()
    run_id = _waiting(client, "A100_80GB", site)

    worker = _worker_of(fleet, run_id)
    os.kill(_parent(worker), signal.SIGKILL)

    run = client.finish(run_id)
    assert (run["status"], run["retry_count"], len(run["output"])) == ("COMPLETED", 1, 1), fleet.log()
    assert worker not in _workers(fleet)  # it died with its supervisor


def test_runs_do_not_notice_that_the_fleets_process_was_killed(fleet: Fleet) -> None:
    client = fleet.stack.client()
    run_id = client.submit(fake_wait(4), accelerator="A100_80GB")
    client.wait_for(run_id, "progress")

    fleet.kill()
    fleet.start()

    run = client.finish(run_id)
    assert (run["status"], run["retry_count"]) == ("COMPLETED", 0)
    again = client.run(fake_save("by the same worker"), accelerator="A100_80GB")
    assert (again["status"], again["worker_id"]) == ("COMPLETED", run["worker_id"])
    _until(lambda: not _workers(fleet), fleet)  # the new process found the old one's worker, and stops it when idle


def test_no_worker_sees_what_opens_the_cluster(fleet: Fleet) -> None:
    client = fleet.stack.client()
    run_id = client.submit(fake_wait(2), accelerator="A100_80GB")
    client.wait_for(run_id, "progress")

    worker = _worker_of(fleet, run_id)
    variables = Path(f"/proc/{worker}/environ").read_bytes().decode().split("\0")

    assert not [each for each in variables if each.startswith(("RAY_", "COMFYWARD_FLEET_TOKEN"))]
    assert fleet.token not in "\n".join(variables)
    assert any(each.startswith("CUDA_VISIBLE_DEVICES=") for each in variables)  # which Ray chose for its place
    client.finish(run_id)


def test_a_frozen_node_finishes_its_run(fleet: Fleet, cluster: RayCluster, t4_nodes: list[Any]) -> None:
    client = fleet.stack.client()
    run_id = client.submit(fake_wait(4), accelerator="T4")
    client.wait_for(run_id, "progress")
    worker = _worker_of(fleet, run_id)
    on = next(node for node in t4_nodes if _is_below(worker, node))

    with cluster.frozen(on):
        run = client.finish(run_id)

    assert (run["status"], run["retry_count"]) == ("COMPLETED", 0), fleet.log()


def test_a_lost_node(fleet: Fleet, cluster: RayCluster, t4_nodes: list[Any], site: Origin) -> None:
    client = fleet.stack.client()
    run_id = _waiting(client, "T4", site)
    worker = _worker_of(fleet, run_id)
    on = next(node for node in t4_nodes if _is_below(worker, node))

    cluster.kill(on)

    run = client.finish(run_id)
    assert (run["status"], run["retry_count"], len(run["output"])) == ("COMPLETED", 1, 1), fleet.log()


def test_a_lost_head(start_fake: StartFake, fake_settings: FakeSettings, tmp_path: Path) -> None:
    stack = start_fake(fleet="none", lease_s="4", max_attempts="5")
    client = stack.client()
    port = free_port()
    with contextlib.ExitStack() as ended:
        with ray_cluster(port) as cluster:
            cluster.add("T4")
            fleet = ended.enter_context(Fleet(stack, cluster, tmp_path, fake_settings()))
            _until(lambda: fleet.status().get("T4"), fleet)
            run_id = client.submit(fake_wait(8), accelerator="T4")
            client.wait_for(run_id, "progress")

            cluster.kill_head()
            _until(lambda: "restarting it" in fleet.log(), fleet)  # Ray ends whoever has lost the head
        with ray_cluster(port) as cluster:
            cluster.add("T4")

            run = client.finish(run_id)  # nobody touched the fleet: it has joined the new cluster by itself

            assert (run["status"], len(run["output"])) == ("COMPLETED", 1), fleet.log()
            fleet.stop()


def test_nodes_come_and_go_with_the_workers(
    start_fake: StartFake,
    fake_settings: FakeSettings,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    stack = start_fake(fleet="none")
    client = stack.client()
    with autoscaled_ray({"T4": 2}) as cluster, Fleet(stack, cluster, tmp_path, fake_settings()) as fleet:
        _until(lambda: fleet.status().get("T4"), fleet)
        assert cluster.nodes() == 0

        runs = [client.submit(fake_wait(4), accelerator="T4") for _ in range(4)]
        impossible = client.submit(fake_save(), accelerator="H100")
        began = time.monotonic()
        _until(lambda: cluster.nodes() == 2, fleet)
        record_property("from_0_to_2_nodes_s", time.monotonic() - began)
        done = [client.finish(run_id) for run_id in runs]

        assert [(run["status"], run["retry_count"], len(run["output"])) for run in done] == [("COMPLETED", 0, 1)] * 4
        assert "No node of the Ray cluster has the accelerator H100" in _until(
            lambda: fleet.status()["H100"]["problem"], fleet
        )
        client.cancel(impossible)
        began = time.monotonic()
        _until(lambda: cluster.nodes() == 0, fleet)
        record_property("from_2_to_0_nodes_s", time.monotonic() - began)
        assert not _workers(fleet)
        again = client.run(fake_save("from zero again"), accelerator="T4")
        assert (again["status"], again["retry_count"]) == ("COMPLETED", 0), fleet.log()


def _waiting(client: Client, pool: str, site: Origin) -> str:
    """A run whose first attempt executes until its worker is lost; the next one takes no time."""
    run_id = client.submit(fake_wait_as_told(), accelerator=pool, files={TOLD: site.put("/seconds", b"600")})
    client.wait_for(run_id, "progress")
    site.put("/seconds", b"0")
    return run_id


def _until(look: Callable[[], Any], fleet: Fleet) -> Any:
    deadline = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)  # another process's state: there is nothing to wait on
    raise AssertionError(f"it did not come:\n{fleet.log()}\n{fleet.status()}")


def _workers(fleet: Fleet) -> list[int]:
    return pids(rf"comfyward worker --server {re.escape(fleet.stack.url)}")


def _worker_of(fleet: Fleet, run_id: str) -> int:
    """The process of the worker that has a run; one of another pool may be about to end."""
    worker_id = fleet.stack.client().get(run_id)["worker_id"]
    [pid] = pids(rf"comfyward worker --server {re.escape(fleet.stack.url)} --id {re.escape(worker_id)} ")
    return pid


def _parent(pid: int) -> int:
    return int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index]


def _is_below(pid: int, node: Any) -> bool:
    [raylet] = node.all_processes["raylet"]
    while pid > 1:
        if pid == raylet.process.pid:
            return True
        pid = _parent(pid)
    return False
