"""Whole systems for scenarios: one with the real ComfyUI for all of them, and fresh ones with the fake."""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfyward.comfy import install, tiny_models
from comfyward.comfy.releases import DEFAULT
from tests.conftest import ROOT, FakeSettings
from tests.fakes.model_sites import Hub, hugging_face
from tests.locks import locked
from tests.servers import S3, Postgres, free_port
from tests.stack.cluster import Beside, Cluster
from tests.stack.stack import Client, Stack
from tests.topology import Topology

StartFake = Callable[..., Stack]
StartCluster = Callable[..., Cluster]


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """The Hugging Face of the server with the real ComfyUI."""
    with hugging_face() as served:
        yield served


@pytest.fixture(scope="session")
def real(
    request: pytest.FixtureRequest,
    hub: Hub,
    topology: Topology,
    engine: dict[str, str],
    tiny_models_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """A server and a CPU worker with the real ComfyUI, the test nodes, and the operator's own model folders.

    Its native port is open without a key.
    """
    with operators_models(tiny_models_dir) as models:
        settings = {**real_settings(engine, models), "hugging_face_url": hub.url}
        stack = Stack(tmp_path_factory.mktemp("real"), settings)
        yield from kept(stack, beside_of(request, topology))


@contextmanager
def operators_models(tiny_models: Path) -> Iterator[Path]:
    """Model folders of a host's own, beside what they are made of: not below /tmp, of which ComfyUI has its own."""
    with tempfile.TemporaryDirectory(prefix="operators-", dir=tiny_models) as made:
        folder = Path(made)
        folder.chmod(0o755)
        for kind, name in (("checkpoints", "tiny-sd15.safetensors"), ("loras", "tiny-lora.safetensors")):
            (folder / kind).mkdir()
            (folder / kind / f"house-{name}").hardlink_to(tiny_models / "one" / name)
        yield folder


def real_settings(engine: dict[str, str], models: Path) -> dict[str, str]:
    return {
        **engine,
        "custom_nodes_dir": str(ROOT / "nodes"),
        "model_dirs": str(models),
        "fetch_allow": "127.0.0.1",
        "native_port": str(free_port()),
        "native_open": "true",
    }


def kept(stack: Stack, beside: Beside | None) -> Iterator[Stack]:
    """A server for many scenarios, which stops as it should when all are over."""
    try:
        yield (beside.start(stack) if beside else stack.start()).wait_ready()
        assert stack.stop() == 0
    finally:
        stack.close()
        if beside:
            beside.close()


@pytest.fixture
def client(real: Stack) -> Client:
    return real.client()


_tenants = itertools.count(1)
ALLOWED_ORIGIN = "https://app.example.com"
UPLOAD_LIMIT_BYTES = 2 << 20


@pytest.fixture(scope="session")
def shared(
    request: pytest.FixtureRequest,
    topology: Topology,
    tmp_path_factory: pytest.TempPathFactory,
    fake_settings: FakeSettings,
) -> Iterator[Stack]:
    """A server with the fake ComfyUI for scenarios that leave it as it is, each with an account of its own.

    Pages of one other site may call it, its native port is open, and it takes uploads of 2 MiB at most.
    """
    settings = {"native_port": str(free_port()), "native_open": "true", "upload_limit_bytes": str(UPLOAD_LIMIT_BYTES)}
    stack = Stack(
        tmp_path_factory.mktemp("shared"),
        fake_settings(cors_origins=ALLOWED_ORIGIN, body_limit_bytes=str(1 << 20), **settings),
    )
    yield from kept(stack, beside_of(request, topology))


@pytest.fixture
def tenant(shared: Stack) -> Client:
    """A client of the shared server, with an account that no other test has."""
    return shared.client(f"tenant-{next(_tenants)}")


@pytest.fixture
def start_fake(
    request: pytest.FixtureRequest, topology: Topology, tmp_path: Path, fake_settings: FakeSettings
) -> Iterator[StartFake]:
    """Starts servers whose workers run the fake ComfyUI; stops them at the end."""
    yield from _starting(lambda: beside_of(request, topology), tmp_path, fake_settings)


@pytest.fixture(scope="module")
def start_fake_once(
    request: pytest.FixtureRequest,
    topology: Topology,
    tmp_path_factory: pytest.TempPathFactory,
    fake_settings: FakeSettings,
) -> Iterator[StartFake]:
    """As start_fake, for a server that the scenarios of one file share, each with names of its own."""
    yield from _starting(lambda: beside_of(request, topology), tmp_path_factory.mktemp("once"), fake_settings)


def _starting(
    next_beside: Callable[[], Beside | None], folder: Path, fake_settings: FakeSettings
) -> Iterator[StartFake]:
    started: list[Stack | Beside] = []

    def start(**settings: str) -> Stack:
        stack = Stack(folder / f"server-{len(started)}", fake_settings(**settings))
        started.append(stack)
        if beside := next_beside():
            started.append(beside)
            return beside.start(stack)
        return stack.start()

    yield start
    for each in started:
        each.close()


def beside_of(request: pytest.FixtureRequest, topology: Topology) -> Beside | None:
    """Makes a scenario's server one of two."""
    if topology is not Topology.TWO_SERVERS:
        return None
    return Beside(request.getfixturevalue("postgres"), request.getfixturevalue("s3"))


@pytest.fixture(scope="session")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, fake_settings: FakeSettings, postgres: Postgres, s3: S3
) -> Iterator[Cluster]:
    """Two servers on PostgreSQL and S3 with one worker, for scenarios that leave them as they are."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), postgres, s3, fake_settings())
    try:
        cluster.start().join(1)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def start_cluster(tmp_path: Path, fake_settings: FakeSettings, postgres: Postgres, s3: S3) -> Iterator[StartCluster]:
    """Starts several servers on PostgreSQL and S3, whose workers run the fake ComfyUI; stops them at the end."""
    started: list[Cluster] = []

    def start(servers: int = 2, **settings: str) -> Cluster:
        folder = tmp_path / f"cluster-{len(started)}"
        cluster = Cluster(folder, postgres, s3, fake_settings(), settings)
        started.append(cluster)
        return cluster.start(servers)

    yield start
    for cluster in started:
        cluster.close()


@pytest.fixture(scope="session")
def tiny_models_dir(environments: Path) -> Path:
    """The tiny checkpoint and two LoRAs, made once and kept beside ComfyUI."""
    folder = environments.parent / "test-models"
    comfyui = install.installed(environments, DEFAULT)
    assert comfyui is not None
    with locked(folder):
        for name, seed in (("one", "7"), ("two", "8")):
            if not (folder / name / "tiny-lora.safetensors").exists():
                script = str(tiny_models.__file__)
                command = [str(comfyui.python), script, str(comfyui.source), str(folder / name), seed]
                subprocess.run(command, check=True, capture_output=True)
            for path in (folder / name).iterdir():
                path.chmod(0o644)  # ComfyUI is nobody's user on a host whose server is root's
    return folder
