"""Every program of `bench/` finds what it imports: a rename shows here, not on the day of the next measurement."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import bench

PROGRAMS = sorted(each.name for each in pkgutil.walk_packages(bench.__path__, "bench."))


def test_all_are_looked_at() -> None:
    assert {"bench.warm", "bench.rows", "bench.gpu.checks"} < set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_imported(program: str) -> None:
    importlib.import_module(program)
