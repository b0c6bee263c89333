"""Fixtures for all tests: processes are real, and each test has its own folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from comfyward.comfy import install
from comfyward.comfy.install import Installation
from comfyward.comfy.releases import DEFAULT, RELEASES, Release
from comfyward.server_settings import default_data_dir
from tests import servers
from tests.fakes.http import Origin, Receiver, origin, receiver
from tests.groups import arrange
from tests.servers import S3, Postgres
from tests.topology import PARAMETERS, Topology, makes_a_difference, topology_of

ROOT = Path(__file__).parent
FAKE_COMFYUI = ROOT / "fakes" / "comfyui"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--two-servers",
        action="store_true",
        help="Run the scenarios that several servers can change on two, with PostgreSQL, S3 and a load balancer.",
    )
    parser.addoption(
        "--earlier-comfyui",
        action="store_true",
        help="Run the scenarios that face the engine on the earliest ComfyUI that can be installed by version.",
    )
    parser.addoption("--everything", action="store_true", help="Run all tests, and these scenarios in all three ways.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "topology" in metafunc.fixturenames:
        wanted = [each for each in PARAMETERS if each.values[0] in _wanted(metafunc.config)]
        metafunc.parametrize("topology", wanted, indirect=True, scope="session")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("ci")  # the same examples in each run, and no example fails for being slow, on any machine
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        from tests.processes import Processes  # needs xdist, which is loaded then

        config.pluginmanager.register(Processes())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the tests of the topologies that were asked for, and only where these can make a difference."""
    wanted = _wanted(config)
    kept = {item: topology_of(item) in wanted and makes_a_difference(item) for item in items}
    config.hook.pytest_deselected(items=[item for item, is_kept in kept.items() if not is_kept])
    items[:] = [item for item, is_kept in kept.items() if is_kept]
    if hasattr(config, "workerinput"):
        arrange(items, Path(config.workerinput["groups"]))


def _wanted(config: pytest.Config) -> set[Topology]:
    if config.getoption("--everything"):
        return set(Topology)
    chosen = {each for each in (Topology.TWO_SERVERS, Topology.EARLIER_COMFYUI) if config.getoption(f"--{each}")}
    return chosen or {Topology.ONE_SERVER}


@pytest.fixture(scope="session")
def topology(request: pytest.FixtureRequest) -> Topology:
    """What the servers of a scenario stand on."""
    return Topology(request.param)


@pytest.fixture(scope="session")
def environments() -> Path:
    """ComfyUI, installed by the code that users get, and kept between runs of the tests."""
    folder = Path(os.environ.get("COMFYWARD_ENVIRONMENTS_DIR") or default_data_dir() / "environments")
    install.install(folder, DEFAULT, lambda what, fraction: None)
    return folder


@pytest.fixture(scope="session")
def release(topology: Topology) -> Release:
    """The ComfyUI of a scenario: the one that users get, or the earliest."""
    return next(iter(RELEASES.values())) if topology is Topology.EARLIER_COMFYUI else DEFAULT


@pytest.fixture(scope="session")
def engine(release: Release, environments: Path) -> dict[str, str]:
    """Settings of a server whose workers run the real ComfyUI."""
    install.install(environments, release, lambda what, fraction: None)
    return {"environments_dir": str(environments), "comfyui_version": release.version}


def installation(engine: dict[str, str]) -> Installation:
    """The ComfyUI behind the settings that `engine` gives."""
    found = install.installed(Path(engine["environments_dir"]), RELEASES[engine["comfyui_version"]])
    assert found is not None
    return found


@pytest.fixture(scope="session")
def engine_version(release: Release) -> str:
    return release.version


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; tests make their own databases in it."""
    with servers.postgres() as running:
        yield running


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An S3 server; tests make their own buckets in it."""
    with servers.s3() as running:
        yield running


@pytest.fixture
def site() -> Iterator[Origin]:
    with origin() as served:
        yield served


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as served:
        yield served


FakeSettings = Callable[..., dict[str, str]]


@pytest.fixture(scope="session")
def fake_settings() -> FakeSettings:
    """Settings of a server whose workers run the fake ComfyUI.

    Scenarios in which a worker is lost shorten the lease: a busy machine may keep one silent for some seconds. A worker
    that is played by hand renews none.
    """

    def settings(**more: str) -> dict[str, str]:
        return {
            "comfyui": str(FAKE_COMFYUI),
            "comfyui_python": sys.executable,
            "fetch_allow": "127.0.0.1",
            "lease_s": "60" if more.get("fleet") == "none" else "15",
            "editor": "false",
            **more,
        }

    return settings
