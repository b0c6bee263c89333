"""fleet.toml: what it may say, when it keeps workers warm, and what is said of mistakes."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from comfyward.errors import SetupFailed
from comfyward.fleet.fleet import Limits
from comfyward.fleet.pools import FleetConfig, PoolConfig, load_fleet

FULL = """
name = "gpus"

[pools.L4]
max = 4
min = 1
idle_timeout_s = 60
prewarm = 1
keep_warm = [{ workers = 3, hours = "08:00-18:00", days = "mon-fri", timezone = "Europe/Zurich" },
             { workers = 2, hours = "22:00-02:00", days = "fri" }]

[pools.A100_80GB]
max = 2
memory_gib = 64

[pools.CPU]
max = 1

[environment]
COMFYWARD_CACHE_LIMIT_BYTES = 1000
"""


def fleet(tmp_path: Path, text: str = FULL) -> FleetConfig:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return load_fleet(path)


def test_a_file_with_every_option(tmp_path: Path) -> None:
    config = fleet(tmp_path)

    assert config.name == "gpus"
    assert config.environment == {"COMFYWARD_CACHE_LIMIT_BYTES": "1000"}
    assert config.pools["L4"].limits == Limits(max=4, min=1, idle_timeout_s=60, prewarm=1)
    large = config.pools["A100_80GB"]
    assert (large.accelerator, large.gpus, large.memory_bytes) == ("A100-80G", 1, 64 * 1024**3)
    assert (config.pools["CPU"].accelerator, config.pools["CPU"].gpus) == (None, 0)


@pytest.mark.parametrize(
    ("moment", "least"),
    [
        ("2026-11-23T09:00+01:00", 3),  # Monday morning in Zurich
        ("2026-11-23T06:59+00:00", 1),  # before eight there
        ("2026-11-22T09:00+01:00", 1),  # Sunday
        ("2026-11-27T23:00+00:00", 2),  # Friday night
        ("2026-11-28T01:59+00:00", 2),  # which goes on into Saturday
        ("2026-11-28T02:00+00:00", 1),
        ("2026-11-27T01:00+00:00", 1),  # and did not begin on Thursday
    ],
)
def test_hours_in_which_workers_are_kept_warm(tmp_path: Path, moment: str, least: int) -> None:
    limits = fleet(tmp_path).pools["L4"].limits_at(datetime.datetime.fromisoformat(moment))

    assert (limits.min, limits.max) == (least, 4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no pools"),
        ("[pools.L4", "is not valid TOML"),
        ("[pools.L4]\nmaximum = 2", "unknown key 'maximum'"),
        ("[pools.L4]\nmax = -1", "'pools.L4.max' must be an integer"),
        ("[pools.L4]\nmax = 1.5", "must be an integer"),
        ("[pools.L4]\nmax = true", "must be an integer"),
        ("[pools.L4]\nmax = 1\nmin = 2", "min (2) must be at most max (1)"),
        ("[pools.L4]\nmax = 1\nkeep_warm = [{ hours = 'noon' }]", "keep_warm is not valid"),
        (
            "[pools.L4]\nmax = 1\nkeep_warm = [{ hours = '08:00-09:00', timezone = 'Mars/Base' }]",
            "keep_warm is not valid",
        ),
        ("name = 'Two Words'\n[pools.L4]\nmax = 1", "name 'Two Words' must be"),
        ("pools = 3", "'pools' must be a table"),
    ],
)
def test_mistakes_are_reported_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SetupFailed) as refused:
        fleet(tmp_path, text)

    assert says in refused.value.message
    assert "\n" not in refused.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SetupFailed, match="cannot be read"):
        load_fleet(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("resources", "launching", "failed", "said"),
    [
        (["CPU", "accelerator_type:H100"], [], [], None),  # it is there, and only in use
        (["accelerator_type:T4"], ["h100-large"], [], None),  # a node is on its way
        (["accelerator_type:T4", "CPU", "accelerator_type:L4"], [], [], "it has: L4, T4"),
        ([], [], [], "it has: none"),
        ([], [], ["h100 (no quota)"], "Ray could not start: h100 (no quota)."),
    ],
)
def test_resources_missing_for_a_pool_are_named(
    resources: list[str], launching: list[str], failed: list[str], said: str | None
) -> None:
    pool = PoolConfig("H100", "H100", Limits(max=1))

    problem = pool.missing(resources, launching, failed)

    assert problem is None if said is None else said in (problem or "")


def test_a_pool_without_gpus_lacks_nothing() -> None:
    assert PoolConfig("CPU", None, Limits(max=1)).missing([], [], []) is None
