"""Versions that somebody preferred are tried by halves, as long as there are tries left."""

from __future__ import annotations

import pytest

from comfyward.environments import resolution
from comfyward.environments.resolution import preferring
from comfyward.environments.uv import Question

VERSIONS = tuple(f"p{number}==1" for number in range(5000))


def preferred(monkeypatch: pytest.MonkeyPatch, excluded: set[str], most: int) -> tuple[set[str], int]:
    """(the versions that are kept, the number of tries)"""
    asked = list[Question]()

    def fits(question: Question) -> bool:
        asked.append(question)
        return not excluded & set(question.constraints)

    monkeypatch.setattr(resolution, "_fits", fits)
    return set(preferring(Question(()), VERSIONS, iter(range(most))).constraints), len(asked)


def test_all_but_one_that_is_excluded_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, tries = preferred(monkeypatch, {"p4000==1"}, 100)
    assert kept == {*VERSIONS} - {"p4000==1"}
    assert tries < 30


def test_thousands_that_exclude_everything_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert preferred(monkeypatch, {*VERSIONS}, 100) == (set(), 100)
