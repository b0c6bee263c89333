"""The places that the limits of an account and of its pools leave, less the runs that workers have."""

from __future__ import annotations

from sqlalchemy import update

from comfyward.store import queue
from comfyward.store.schema import accounts
from tests.store.conftest import Store


def test_limits_count_leased_runs(store: Store) -> None:
    own = update(accounts).where(accounts.c.id == store.alice.id)
    store.write(lambda conn: conn.execute(own.values(max_running=3, max_running_by_pool='{"L4": 2}')))
    for name in ("held", "waits"):
        store.new_run(name)
    store.new_run("elsewhere", pool="H100")
    store.new_run("others", account=store.bob)
    store.assign("held")

    by_id = {run.id: run for run in store.read(queue.heads, {"L4": ["default"], "H100": ["default"]}, 10)}
    whole, in_l4 = f"account {store.alice.id}", f"account {store.alice.id} in L4"
    assert {name: dict(run.limits) for name, run in by_id.items()} == {
        "waits": {whole: 3, in_l4: 2},
        "elsewhere": {whole: 3},
        "others": {},
    }
    assert store.read(queue.places_left, list(by_id.values())) == {whole: 2, in_l4: 1}
    assert store.read(queue.waiting, "waits") == by_id["waits"]
    assert store.read(queue.waiting, "held") is None
