"""A Ray cluster on this machine: a head without CPUs, and nodes that say they have accelerators."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OBJECT_STORE_BYTES = 80 << 20
# Everything on 127.0.0.1 (Ray listens everywhere otherwise), no token, and dead nodes noticed within seconds.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_enable_infeasible_task_early_exit": "true",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class RayCluster:
    """Nodes are added by accelerator, and can be killed and frozen."""

    def __init__(self, port: int | None = None) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        if port is not None:
            head["gcs_server_port"] = port
        self._cluster = Cluster(initialize_head=True, head_node_args=head)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self, accelerator: str, gpus: int = 1) -> Any:
        """A node, as one is set up with `ray start --num-gpus … --resources '{"accelerator_type:…": …}'`."""
        return self._cluster.add_node(
            num_cpus=1,
            num_gpus=gpus,
            resources={f"accelerator_type:{accelerator}": gpus},
            object_store_memory=OBJECT_STORE_BYTES,
        )

    def kill(self, node: Any) -> None:
        """As when a machine is lost, with all that runs on it."""
        for pid in _tree(_raylet(node)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextmanager
    def frozen(self, node: Any) -> Iterator[None]:
        """As when a machine hangs, or its network does."""
        pid = _raylet(node)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill_head(self) -> None:
        [process] = self._cluster.head_node.all_processes["gcs_server"]
        os.kill(process.process.pid, signal.SIGKILL)

    def close(self) -> None:
        for node in [*self._cluster.worker_nodes, self._cluster.head_node]:
            if node is not None:
                node.kill_all_processes(check_alive=False, allow_graceful=False)


@contextmanager
def ray_cluster(port: int | None = None) -> Iterator[RayCluster]:
    folder = tempfile.mkdtemp(prefix="cw-ray-")  # short: Ray's sockets have long names
    (Path(folder) / "ray").mkdir()
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT, RAY_TMPDIR=folder)
    cluster = RayCluster(port)
    try:
        yield cluster
    finally:
        cluster.close()
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def _raylet(node: Any) -> int:
    [process] = node.all_processes["raylet"]
    return int(process.process.pid)


def _tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = re.search(r"PPid:\s+(\d+)", (path / "status").read_text())
            children.setdefault(int(parent[1]) if parent else 0, []).append(int(path.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found
