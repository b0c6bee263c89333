"""However many runs wait for an environment that no asking worker has ready, those of other environments are seen."""

from __future__ import annotations

from comfyward.store import queue
from tests.store.conftest import Store

PORTRAITS = "a" * 64


def test_runs_of_another_environment_fill_no_place(store: Store) -> None:
    for number in range(20):
        store.new_run(f"stuck{number}", environment=PORTRAITS, priority=100, created_at=number)
    store.new_run("own", account=store.bob, created_at=1000)

    def seen(*environments: str, aged_before: int = 0) -> list[str]:
        found = store.read(queue.heads, {"L4": environments}, 10, aged_before=aged_before)
        return [run.id for run in found]

    assert seen("default") == seen("default", aged_before=2000) == ["own"]
    assert len(seen("default", PORTRAITS)) == 10
    assert seen() == []
