"""Builders are killed at random moments, and work side by side: an environment that is there is complete."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uv

from comfyward.environments.fetching import Fetching
from comfyward.environments.lock import Lock, parse_lock
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.source import Release
from comfyward.environments.spec import Spec
from comfyward.environments.trees import digest_of
from comfyward.environments.weights import Weights
from comfyward.environments.workshop import Workshop
from comfyward.errors import PackagesExclude
from comfyward.files.guard import Guard
from comfyward.worker.builders import Builders
from comfyward.worker.link import ServerLink
from tests.fakes.http import origin
from tests.stack.stack import END_TIMEOUT_S

KILLS = 30
FACES = os.urandom(8 << 20)


def quiet(step: str, fraction: float | None) -> None:
    return


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    """On the disk of uv's cache, since environments link to what is there."""
    beside = Path(subprocess.check_output([uv.find_uv_bin(), "cache", "dir"], text=True).strip()).parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="comfyward-tests-", dir=beside) as folder:
        yield Workshop.below(Path(folder), ComfyRegistry("http://127.0.0.1:9", Guard()), fetching_in(Path(folder)))


def fetching_in(folder: Path) -> Fetching:
    return Fetching(str(folder / "cache"), allow=("127.0.0.1",))


@pytest.fixture(scope="module")
def weights() -> Iterator[Weights]:
    """A file that a pack wants."""
    with origin() as files:
        yield Weights("models/faces/faces.onnx", files.put("/faces.onnx", FACES))


@pytest.fixture(scope="module")
def spec(workshop: Workshop, weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Spec:
    """A small ComfyUI with a pack: what is built is real, but for its size."""
    folder = tmp_path_factory.mktemp("sources")
    return Spec(
        workshop.sources.add_folder(pack(folder / "ComfyUI", "einops\nsafetensors\n", ("main.py", "nodes.py"))),
        (workshop.sources.add_folder(pack(folder / "small", "colorama\n")),),
        files=(weights,),
    )


def pack(folder: Path, requirements: str, files: tuple[str, ...] = ("__init__.py",)) -> Path:
    folder.mkdir()
    for name in files:
        (folder / name).write_text("VALUE = 1\n")
    (folder / "requirements.txt").write_text(requirements)
    return folder


@pytest.fixture(scope="module")
def lock(workshop: Workshop, spec: Spec) -> Lock:
    return workshop.locker.lock(spec, None, quiet)


Start = Callable[[Workshop, Lock], int]


def child(workshop: Workshop, lock: Lock) -> int:
    """The process id of a builder."""
    return forked(lambda: workshop.builder.build(lock, quiet))


def working(workshop: Workshop, lock: Lock) -> int:
    """The process id of a worker that has a builder, all of whose processes have the workshop in a variable."""

    async def build() -> None:
        os.environ["BUILDS_IN"] = str(workshop.builds.root)
        link = ServerLink("http://127.0.0.1:9", "token")
        fetching = fetching_in(workshop.builds.root)
        await Builders(workshop, link, "http://127.0.0.1:9", fetching, 600).build(lock, lambda step: None)
        await link.close()

    return forked(lambda: asyncio.run(build()))


def forked(work: Callable[[], object]) -> int:
    process = os.fork()
    if process == 0:
        os.setsid()
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return process


def wait_until_gone(workshop: Workshop) -> None:
    """Returns when no process of a worker that builds here is left."""
    mark, until = f"BUILDS_IN={workshop.builds.root}\0".encode(), time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < until:
        if not any(mark in environment_of(process) for process in Path("/proc").glob("[0-9]*")):
            return
        time.sleep(0.02)
    raise AssertionError("a builder goes on without its worker")


def environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""  # it has ended


def check_whole(workshop: Workshop, lock: Lock) -> None:
    """Everything that the lock says is there, and Python imports it."""
    built = workshop.builds.find(lock.digest)
    assert built is not None
    assert parse_lock((built.path / "lock.json").read_text()).digest == lock.digest
    assert digest_of(built.comfyui) == lock.comfyui.tree
    assert digest_of(built.packs / "small") == lock.packs[0].tree
    assert (built.path / "files" / "models" / "faces" / "faces.onnx").read_bytes() == FACES
    command = [built.path / "venv" / "bin" / "python", "-c", "import einops, safetensors, colorama"]
    subprocess.run(command, check=True, cwd="/")


@pytest.mark.parametrize("start", [child, working], ids=["builder", "worker"])
def test_no_kill_leaves_a_broken_environment(workshop: Workshop, lock: Lock, start: Start) -> None:
    workshop.builds.remove(lock.digest)
    began = time.monotonic()
    assert os.waitpid(start(workshop, lock), 0)[1] == 0
    length_s = time.monotonic() - began
    workshop.builds.remove(lock.digest)
    assert workshop.builds.find(lock.digest) is None

    for _ in range(KILLS):
        shutil.rmtree(workshop.builds.root / "cache", ignore_errors=True)  # so that files are fetched again, too
        process = start(workshop, lock)
        time.sleep(random.uniform(0, length_s))
        os.killpg(process, signal.SIGKILL) if started(process) else os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        wait_until_gone(workshop)
        if workshop.builds.find(lock.digest) is not None:
            check_whole(workshop, lock)
            workshop.builds.remove(lock.digest)

    workshop.builder.build(lock, quiet)
    check_whole(workshop, lock)
    assert list((workshop.builds.root / "staging").iterdir()) == []


def started(process: int) -> bool:
    """True if the builder has a process group of its own."""
    return os.getpgid(process) == process


def test_builders_side_by_side_build_once(workshop: Workshop, lock: Lock) -> None:
    workshop.builds.remove(lock.digest)
    processes = [child(workshop, lock) for _ in range(3)]

    assert [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes] == [0, 0, 0]
    check_whole(workshop, lock)
    assert [built.digest for built in workshop.builds.all()] == [lock.digest]


def test_packages_are_shared_with_the_next_environment(workshop: Workshop, spec: Spec, tmp_path: Path) -> None:
    more = workshop.sources.add_folder(pack(tmp_path / "more", ""))
    one = workshop.builder.build(workshop.locker.lock(spec, None, quiet), quiet)
    two = workshop.builder.build(workshop.locker.lock(spec.with_packs([more]), None, quiet), quiet)

    (module,) = one.path.glob("venv/lib/*/site-packages/einops/einops.py")
    other = two.path / module.relative_to(one.path)
    assert other.stat().st_ino == module.stat().st_ino
    name = f"einops.{sys.implementation.cache_tag}.pyc"
    assert (other.parent / "__pycache__" / name).stat().st_ino == (module.parent / "__pycache__" / name).stat().st_ino
    assert (two.packs / "more" / "__init__.py").stat().st_nlink == 1  # files of packs are never shared
    workshop.builds.remove(two.digest)


@pytest.mark.parametrize(
    ("needs", "sentence"),
    [
        ({"a": "colorama<0.4.4"}, None),
        ({"a": "numpy<2"}, r"a asks for numpy<2 \(requirements.txt, line 1\); ComfyUI unknown here has numpy>=2."),
        (
            {"a": "colorama<0.4.4", "b": "einops", "c": "colorama>=0.4.5"},
            r"a asks for colorama<0.4.4; c asks for colorama>=0.4.5.",
        ),
        ({"a": "einops\ncomfyward-no-such-package-7f"}, r"a asks for 'comfyward-no-such-package-7f', which no package"),
        ({"a": "colorama==99.1"}, r"a asks for colorama==99.1 .*, but there is no such version"),
    ],
)
def test_packs_that_exclude_each_other_are_named(
    workshop: Workshop, spec: Spec, tmp_path: Path, needs: dict[str, str], sentence: str | None
) -> None:
    packs = [workshop.sources.add_folder(pack(tmp_path / name, text + "\n")) for name, text in needs.items()]
    asked = Spec(spec.comfyui, tuple(packs))
    if sentence is None:
        assert "colorama" in {package.name for package in workshop.locker.lock(asked, None, quiet).packages}
        return
    with pytest.raises(PackagesExclude, match=sentence):
        workshop.locker.lock(asked, None, quiet)


def test_a_version_of_comfyui_that_nobody_knows_is_refused(workshop: Workshop) -> None:
    with pytest.raises(Exception, match=r"ComfyUI 9.9.9 is not among the releases"):
        workshop.locker.lock(Spec(Release("9.9.9")), None, quiet)
