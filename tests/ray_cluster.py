"""A Ray cluster on this machine: a head without CPUs, and nodes that say they have accelerators."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from tests.servers import free_port

OBJECT_STORE_BYTES = 80 << 20
# Everything on 127.0.0.1 (Ray listens everywhere otherwise), no token, and dead nodes noticed within seconds.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_NUM_REDIS_GET_RETRIES": "90",  # seconds that a node waits for the head, on a machine that is busy
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


class AutoscaledRay:
    """A cluster whose v2 autoscaler starts a node when an actor waits for one, and ends it when it is idle.

    Ray's provider of fake nodes does it, given as an external one: the files of its own example are not in the wheel.
    """

    HEAD = "f" * 51 + "00000"  # FAKE_HEAD_NODE_ID of that provider
    ENVIRONMENT: ClassVar = {
        "RAY_enable_autoscaler_v2": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "RAY_CLOUD_INSTANCE_ID": HEAD,  # without it the autoscaler never launches anything
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    # Nothing dies here: what is slow on a busy machine is waited for, as Ray does by itself.
    PATIENCE: ClassVar = {
        "RAY_health_check_period_ms": "3000",
        "RAY_health_check_timeout_ms": "10000",
        "RAY_health_check_failure_threshold": "5",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "60",
    }

    def __init__(self, folder: Path, port: int, most: Mapping[str, int]) -> None:
        """`most` is how many nodes of each accelerator there may be. Their idle timeout is 6 s."""
        self.address = f"127.0.0.1:{port}"
        config = folder / "autoscaling.json"
        config.write_text(json.dumps(self._config(most)))
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}"]
        command += ["--num-cpus=0", "--include-dashboard=false", f"--object-store-memory={OBJECT_STORE_BYTES}"]
        with (folder / "head.log").open("wb") as log:
            self._head = subprocess.Popen(
                [*command, f"--autoscaling-config={config}"],
                env={**os.environ, **self.ENVIRONMENT},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def nodes(self) -> int:
        """The number of nodes beside the head."""
        return sum(_name(pid) == "raylet" for pid in _tree(self._head.pid)) - 1

    def close(self) -> None:
        for pid in _tree(self._head.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._head.wait()

    def _config(self, most: Mapping[str, int]) -> dict[str, Any]:
        types: dict[str, Any] = {"ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
        for name, count in most.items():
            has = {"CPU": 1, "GPU": 1, f"accelerator_type:{name}": 1, "object_store_memory": OBJECT_STORE_BYTES}
            types[name] = {"resources": has, "node_config": {}, "min_workers": 0, "max_workers": count}
        commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        module = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
        return {
            "cluster_name": "fake",
            "max_workers": sum(most.values()),
            "idle_timeout_minutes": 0.1,
            "upscaling_speed": 100,
            "provider": {
                "type": "external",
                "module": module,
                "gcs_address": self.address,
                "launch_multiple": True,
                "head_node_id": self.HEAD,
            },
            "available_node_types": types,
            "head_node_type": "ray.head.default",
            "auth": {},
            "docker": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            "rsync_exclude": [],
            "rsync_filter": [],
            **{f"{name}_commands": [] for name in commands},
        }


@contextmanager
def ray_cluster(port: int | None = None) -> Iterator[RayCluster]:
    with _environment(), contextlib.closing(RayCluster(port)) as cluster:
        yield cluster


@contextmanager
def autoscaled_ray(most: Mapping[str, int]) -> Iterator[AutoscaledRay]:
    with (
        _environment(AutoscaledRay.PATIENCE) as folder,
        contextlib.closing(AutoscaledRay(folder, free_port(), most)) as cluster,
    ):
        yield cluster


@contextmanager
def _environment(changes: Mapping[str, str] = MappingProxyType({})) -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="cw-ray-")  # short: Ray's sockets have long names
    (Path(folder) / "ray").mkdir()
    before = dict(os.environ)
    os.environ.update({**ENVIRONMENT, **changes, "RAY_TMPDIR": folder})
    try:
        yield Path(folder)
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def _raylet(node: Any) -> int:
    [process] = node.all_processes["raylet"]
    return int(process.process.pid)


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


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
