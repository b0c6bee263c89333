"""Cgroups are made where they are delegated, and end with their ComfyUI, or with the next worker of that service."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.sandbox.cgroups import COMFYUI, Cgroups, NoCgroup, delegated
from comfyward.sandbox.walls import Limits
from tests.cgroups.conftest import Service

HELD = """
import sys
from comfyward.sandbox.cgroups import COMFYUI, Cgroups, delegated
from comfyward.sandbox.walls import Limits
made = Cgroups(delegated(), Limits()).make(COMFYUI)
import subprocess
with made.entrance() as entrance:
    subprocess.Popen(["sh", "-c", f"echo 0 >&{entrance}; exec sleep 600"], pass_fds=[entrance])
while made.folder.joinpath("cgroup.procs").read_text() == "":
    pass
print(made.folder.name, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def neighbour() -> Iterator[str]:
    """The name of the cgroup of a worker with a ComfyUI that does not end by itself. It is killed at the end."""
    with subprocess.Popen([sys.executable, "-c", HELD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        yield worker.stdout.readline().decode().strip()
        worker.kill()


def test_the_next_worker_removes_them(service: Service) -> None:
    with neighbour() as name:
        assert service.children == [name, "comfyward"]
        [comfyui] = (service.folder / name / "cgroup.procs").read_text().split()
    assert service.children == [name, "comfyward"]

    Cgroups(delegated(), Limits())

    assert service.children == ["comfyward"]
    assert not Path("/proc", comfyui).exists()


def test_those_of_neighbours_stay(service: Service) -> None:
    with neighbour() as name:
        made = Cgroups(delegated(), Limits(memory_bytes=1 << 30, processes=7)).make(COMFYUI)

        assert set(service.children) == {name, made.folder.name, "comfyward"}
        limits = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max")
        assert [(made.folder / limit).read_text() for limit in limits] == [f"{1 << 30}\n", "0\n", "1\n", "7\n"]
        made.remove()
        assert service.children == [name, "comfyward"]


def test_one_whose_start_was_cancelled_is_removed(service: Service) -> None:
    cgroups = Cgroups(delegated(), Limits())
    cgroups.make(COMFYUI)

    kept = cgroups.make(COMFYUI)

    assert service.children == [kept.folder.name, "comfyward"]
    kept.remove()
    assert service.children == ["comfyward"]


def test_a_comfyui_has_less_than_its_service(service: Service) -> None:
    (service.folder / "memory.max").write_text(f"{1000 << 20}")

    made = Cgroups(delegated(), Limits(memory_bytes=2000 << 20)).make(COMFYUI)

    assert (made.folder / "memory.max").read_text() == f"{900 << 20}\n"
    made.remove()


def test_a_container_that_may_write_to_its_cgroups_has_them(service: Service) -> None:
    inside = 'mount -t tmpfs tmpfs /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "$@"'
    ask = "from tests.cgroups.conftest import made_and_removed; print(made_and_removed())"
    command = ["unshare", "-Cm", "sh", "-c", inside, "sh", sys.executable, "-c", ask]

    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert found == "/sys/fs/cgroup"
    assert service.children == ["comfyward"]


def test_nothing_is_moved_where_nothing_is_delegated(service: Service) -> None:
    (service.folder.parent / "cgroup.procs").write_text("0")

    with pytest.raises(NoCgroup, match=r"^/sys/fs/cgroup is not delegated to it$"):
        delegated()

    assert Path("/proc/self/cgroup").read_text() == "0::/\n"
