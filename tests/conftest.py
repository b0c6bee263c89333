"""Fixtures for all tests: processes are real, and each test has its own folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfyward.comfy import install
from comfyward.comfy.install import Installation
from comfyward.settings import default_data_dir
from tests import engines, servers
from tests.fakes.http import Origin, Receiver, origin, receiver
from tests.servers import S3, Postgres

ROOT = Path(__file__).parent
FAKE_COMFYUI = ROOT / "fakes" / "comfyui"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--two-servers",
        action="store_true",
        help="Run the scenarios that several servers can change on two, with PostgreSQL, S3 and a load balancer.",
    )
    parser.addoption(
        "--newest-comfyui",
        action="store_true",
        help="Run the scenarios that face the engine on the newest ComfyUI that the package registry carries.",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --two-servers or --newest-comfyui, only what these can change."""
    if config.getoption("--two-servers"):
        _keep(config, items, _is_for_two_servers)
    if config.getoption("--newest-comfyui"):
        _keep(config, items, lambda item: item.get_closest_marker("engine") is not None)


def _keep(config: pytest.Config, items: list[pytest.Item], is_wanted: Callable[[pytest.Item], bool]) -> None:
    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = [item for item in items if is_wanted(item)]


def _is_for_two_servers(item: pytest.Item) -> bool:
    is_served = {"real", "shared", "start_fake", "start_fake_once"} & set(getattr(item, "fixturenames", ()))
    is_shared = item.get_closest_marker("several_servers") and not item.get_closest_marker("one_machine")
    return bool(is_served and is_shared)


@pytest.fixture(scope="session")
def environments() -> Path:
    """ComfyUI, installed by the code that users get, and kept between runs of the tests."""
    folder = Path(os.environ.get("COMFYWARD_ENVIRONMENTS_DIR") or default_data_dir() / "environments")
    install.install(folder, lambda what, fraction: None)
    return folder


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest, environments: Path) -> dict[str, str]:
    """Settings of a server whose workers run the real ComfyUI: the one that users get, or the newest."""
    settings = {"environments_dir": str(environments)}
    if request.config.getoption("--newest-comfyui"):
        newest = engines.newest(environments)
        settings |= {"comfyui": str(newest.source), "comfyui_python": str(newest.python)}
    return settings


def installation(engine: dict[str, str]) -> Installation:
    """The ComfyUI behind the settings that `engine` gives."""
    if "comfyui" in engine:
        return install.existing(Path(engine["comfyui"]), Path(engine["comfyui_python"]))
    found = install.installed(Path(engine["environments_dir"]))
    assert found is not None
    return found


@pytest.fixture(scope="session")
def engine_version(request: pytest.FixtureRequest) -> str:
    return engines.VERSION if request.config.getoption("--newest-comfyui") else install.VERSION


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
    """Settings of a server whose workers run the fake ComfyUI."""

    def settings(**more: str) -> dict[str, str]:
        return {
            "comfyui": str(FAKE_COMFYUI),
            "comfyui_python": sys.executable,
            "fetch_allow": "127.0.0.1",
            "lease_s": "3",
            "editor": "false",
            **more,
        }

    return settings
