"""`auto` is bubblewrap where that works, else Landlock, else none; a level that is named is had or refused."""

from __future__ import annotations

import pytest

from comfyward.errors import SetupFailed
from comfyward.sandbox import walls
from comfyward.sandbox.inside import landlock
from comfyward.sandbox.walls import Level


@pytest.mark.parametrize(
    ("bubblewrap", "abi", "level"),
    [(True, 6, Level.BUBBLEWRAP), (False, 6, Level.LANDLOCK), (False, 0, Level.NONE)],
    ids=["all", "no namespaces, as in a container", "neither"],
)
def test_auto(monkeypatch: pytest.MonkeyPatch, bubblewrap: bool, abi: int, level: Level) -> None:
    _host(monkeypatch, bubblewrap, abi)

    assert walls.choose("auto") is level


@pytest.mark.parametrize("named", ["bubblewrap", "landlock"])
def test_a_level_that_is_named_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    _host(monkeypatch, named != "bubblewrap", 0 if named == "landlock" else 6)

    with pytest.raises(SetupFailed, match=f"'{named}' does not work"):
        walls.choose(named)


def _host(monkeypatch: pytest.MonkeyPatch, bubblewrap: bool, abi: int) -> None:
    monkeypatch.setattr(walls, "bubblewrap_works", lambda: bubblewrap)
    monkeypatch.setattr(landlock, "abi", lambda: abi)
    monkeypatch.setattr(walls.platform, "system", lambda: "Linux")
