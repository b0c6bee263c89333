"""A delegated cgroup for each file of scenarios, as a service of systemd with Delegate=yes has one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.sandbox.cgroups import COMFYUI, Cgroups, delegated
from comfyward.sandbox.walls import Limits
from tests.attacks.attacked import NOBODY
from tests.cgroups.machine import VARIABLE
from tests.stack.conftest import start_fake

__all__ = ["start_fake"]

TREE = Path("/sys/fs/cgroup")


class Service:
    """A cgroup with this process in it, which is the worker's service."""

    def __init__(self, name: str) -> None:
        self.folder = TREE / name
        self.folder.mkdir()
        os.setxattr(self.folder, "user.delegate", b"1")
        self.enter()

    def enter(self) -> None:
        """Moves this process into it, from which a worker moves it to a leaf."""
        within = self.folder if not self.children else self.folder / "comfyward"
        (within / "cgroup.procs").write_text("0")

    def give_to(self, user: int) -> None:
        """Delegates it to a user, as systemd does."""
        for path in (
            self.folder,
            *(self.folder / f"cgroup.{name}" for name in ("procs", "subtree_control", "threads")),
        ):
            shutil.chown(path, user, user)

    @property
    def children(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    if VARIABLE not in os.environ:
        pytest.skip("only in the machine of `scripts/test cgroups`")
    (TREE / "cgroup.subtree_control").write_text("+memory +pids")
    service = Service(f"service-{os.urandom(4).hex()}")
    yield service
    (TREE / "cgroup.procs").write_text("0")


@pytest.fixture
def service_of_nobody(service: Service) -> Service:
    service.give_to(NOBODY)
    return service


def made_and_removed() -> str:
    """The folder that is delegated to this process, after a cgroup in it was made and removed."""
    cgroups = Cgroups(delegated(), Limits())
    cgroups.make(COMFYUI).remove()
    return str(cgroups.folder)
