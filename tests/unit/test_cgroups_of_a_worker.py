"""Cgroups are used only where one is delegated. A kill is the run's fault only if the run broke its own limit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comfyward.cli import worker
from comfyward.sandbox import cgroups
from comfyward.sandbox.cgroups import (
    NoCgroup,
    delegated,
    is_over_memory,
    least_memory,
    limits_of,
    limits_within,
    own_folder,
)
from comfyward.sandbox.walls import Limits
from tests.command_line import comfyward
from tests.conftest import FAKE_COMFYUI

SERVICE = "0::/system.slice/comfyward.service\n"
WHOLE_TREE = """\
16 1 0:14 / /proc rw,relatime - proc proc rw
20 19 0:18 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw
"""
# A container's view: the mount of its host, which leads out of its namespace, is below one of its own.
CONTAINERS_OWN_TREE = """\
31 30 0:18 /.. /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw
34 31 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw
35 34 0:18 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw
"""
BOTH_VERSIONS = "9:name=systemd:/\n8:pids:/\n4:memory:/one\n0::/\n"
TREES_OF_BOTH = """\
27 26 0:24 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 27 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 27 0:33 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""

# memory.events of Linux 6.1: before anything; of a cgroup over its limit; of one inside of a cgroup over its limit.
QUIET = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"
OVER = "low 0\nhigh 0\nmax 82\noom 1\noom_kill 2\noom_group_kill 1\n"
INSIDE_OF_ONE_OVER = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("own", "mounts", "folder"),
    [
        (SERVICE, WHOLE_TREE, "/sys/fs/cgroup/system.slice/comfyward.service"),
        ("0::/\n", CONTAINERS_OWN_TREE, "/sys/fs/cgroup"),
        ("0::/comfyward\n", CONTAINERS_OWN_TREE, "/sys/fs/cgroup/comfyward"),
        ("0::/docker/one/leaf\n", WHOLE_TREE.replace(" / /sys/fs", " /docker/one /sys/fs"), "/sys/fs/cgroup/leaf"),
        ("0::/a b\n", WHOLE_TREE.replace("/sys/fs/cgroup", r"/sys/my\040tree"), "/sys/my tree/a b"),
        (BOTH_VERSIONS, TREES_OF_BOTH, "/sys/fs/cgroup/unified"),
    ],
)
def test_the_folder_of_a_process(own: str, mounts: str, folder: str) -> None:
    assert str(own_folder(own, mounts)[0]) == folder


@pytest.mark.parametrize(
    ("own", "mounts"),
    [
        ("8:pids:/\n4:memory:/one\n", TREES_OF_BOTH),  # version 1 only
        (SERVICE, "16 1 0:14 / /proc rw,relatime - proc proc rw\n"),  # not mounted
        ("0::/\n", "31 30 0:18 /../.. /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"),  # not of its namespace
        ("0::/../other\n", CONTAINERS_OWN_TREE),
        ("", ""),
    ],
)
def test_a_process_without_a_folder(own: str, mounts: str) -> None:
    with pytest.raises(NoCgroup, match=r"^this host has no cgroups of version 2$"):
        own_folder(own, mounts)


class Tree:
    """A tree of cgroups as files, whose attributes are in `attributes`."""

    def __init__(self, root: Path, own: str) -> None:
        self.folder = root / own
        self.folder.mkdir(parents=True)
        self.attributes: dict[Path, str] = {}
        for name, text in (("procs", ""), ("subtree_control", ""), ("controllers", "cpu memory pids"), ("kill", "")):
            (self.folder / f"cgroup.{name}").write_text(text)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    tree = Tree(tmp_path, "comfyward.service")
    monkeypatch.setattr(cgroups, "own_folder", lambda *_: (tree.folder, tmp_path))
    monkeypatch.setattr(cgroups, "_attribute", lambda path, name: b"1" if tree.attributes.get(path) == name else b"")
    return tree


@pytest.mark.parametrize("attribute", ["user.delegate", "trusted.delegate"])
def test_a_service_to_which_its_cgroup_is_delegated(tree: Tree, attribute: str) -> None:
    tree.attributes[tree.folder] = attribute

    assert delegated() == tree.folder


def test_a_worker_in_a_leaf_of_what_is_delegated(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier worker has moved all of the service there, or systemd's DelegateSubgroup."""
    tree.attributes[tree.folder] = "user.delegate"
    monkeypatch.setattr(cgroups, "own_folder", lambda *_: (tree.folder / "comfyward", tree.folder.parent))

    assert delegated() == tree.folder


def test_the_root_of_a_container(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.folder / "cgroup.type").write_text("domain")
    monkeypatch.setattr(cgroups, "own_folder", lambda *_: (tree.folder, tree.folder))

    assert delegated() == tree.folder


def test_the_root_of_a_host_is_nobodys(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "own_folder", lambda *_: (tree.folder, tree.folder))

    with pytest.raises(NoCgroup, match=r"comfyward\.service is not delegated to it"):
        delegated()


def test_a_cgroup_that_its_owner_did_not_delegate(tree: Tree) -> None:
    with pytest.raises(NoCgroup, match=r"comfyward\.service is not delegated to it"):
        delegated()


def test_a_controller_that_is_not_there(tree: Tree) -> None:
    tree.attributes[tree.folder] = "user.delegate"
    (tree.folder / "cgroup.controllers").write_text("cpu hugetlb")

    with pytest.raises(NoCgroup, match=r"comfyward\.service has no controller memory and pids"):
        delegated()


def test_a_kernel_that_cannot_kill_a_cgroup(tree: Tree) -> None:
    tree.attributes[tree.folder] = "user.delegate"
    (tree.folder / "cgroup.kill").unlink()

    with pytest.raises(NoCgroup, match=r"the kernel is older than 5\.14"):
        delegated()


@pytest.mark.parametrize(
    ("own", "around", "least"),
    [("max", "max", 0), ("1000", "max", 1000), ("max", "2000", 2000), ("1000", "500", 500), (None, None, 0)],
)
def test_the_least_limit_of_a_service_and_those_around_it(
    tree: Tree, own: str | None, around: str | None, least: int
) -> None:
    (tree.folder.parent / "cgroup.procs").write_text("")
    for folder, text in ((tree.folder, own), (tree.folder.parent, around)):
        if text is not None:
            (folder / "memory.max").write_text(f"{text}\n")

    assert least_memory(tree.folder) == least


@pytest.mark.parametrize(
    ("wanted", "available", "gets"), [(1000, 0, 1000), (1000, 2000, 1000), (1000, 1000, 900), (0, 1000, 900), (0, 0, 0)]
)
def test_the_memory_of_a_comfyui_within_that_of_its_service(wanted: int, available: int, gets: int) -> None:
    assert limits_within(Limits(wanted, processes=7), available) == Limits(gets, processes=7)


def test_what_is_written() -> None:
    common = {"memory.swap.max": "0", "memory.oom.group": "1"}

    assert limits_of(Limits(memory_bytes=5 << 30)) == {"memory.max": "5368709120", **common, "pids.max": "4096"}
    assert limits_of(Limits(processes=0)) == {"memory.max": "max", **common, "pids.max": "max"}


@pytest.mark.parametrize(
    ("events", "is_over"), [(QUIET, False), (OVER, True), (INSIDE_OF_ONE_OVER, False), ("", False)]
)
def test_what_memory_events_say(events: str, is_over: bool) -> None:
    assert is_over_memory(events) is is_over


def test_a_worker_that_requires_them_does_not_start_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"sandbox_cgroups": "required", "sandbox": "none", "data_dir": tmp_path, "worker_pulse": 0}
    settings |= {"comfyui": FAKE_COMFYUI, "comfyui_python": sys.executable}
    environment = {f"COMFYWARD_{name.upper()}": str(value) for name, value in settings.items()}
    monkeypatch.setattr(worker, "delegated", lambda: (_ for _ in ()).throw(NoCgroup("/one is not delegated to it")))

    ended = comfyward("worker", "--server", "http://127.0.0.1:9", "--token", "t", environment=environment)

    assert ended.returncode == 1
    assert "No cgroup limits ComfyUI: /one is not delegated to it." in ended.stderr
