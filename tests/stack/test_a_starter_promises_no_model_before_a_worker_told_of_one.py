"""Before a worker has told what is installed, the page of starters does not claim that a model is."""

from __future__ import annotations

from tests.stack.conftest import StartFake


def test_before_the_first_worker(start_fake: StartFake) -> None:
    page = start_fake(fleet="none").visitor().get("/workflows/new").text

    assert "tells whether it is installed" in page
    assert "Its model is installed" not in page
