"""An account with many waiting runs does not delay others, and unused turns are not saved up."""

from comfyward.store import queue
from tests.store.conftest import Store


def order(store: Store) -> list[str]:
    return [head.id for head in store.read(queue.heads, {"L4": ["default"]}, 100)]


def test_two_accounts_alternate_however_many_runs_one_has(store: Store) -> None:
    for number in range(5):
        store.new_run(f"a{number}", store.alice, created_at=number)
    for number in range(2):
        store.new_run(f"b{number}", store.bob, created_at=100 + number)

    assert order(store) == ["a0", "b0", "a1", "b1", "a2", "a3", "a4"]


def test_a_new_account_goes_next_but_earns_no_past_turns(store: Store) -> None:
    for number in range(6):
        store.new_run(f"a{number}", store.alice, created_at=number)
    for number in range(3):
        store.assign(f"a{number}", f"lease-{number}")

    for number in range(3):
        store.new_run(f"b{number}", store.bob, created_at=100 + number)

    assert order(store) == ["b0", "a3", "b1", "a4", "b2", "a5"]


def test_an_account_that_submits_one_at_a_time_gets_every_second_turn(store: Store) -> None:
    for number in range(8):
        store.new_run(f"a{number}", store.alice, created_at=number)
    served = []
    for number in range(6):
        if not any(name.startswith("b") for name in order(store)):
            store.new_run(f"b{number}", store.bob, created_at=100 + number)
        served.append(order(store)[0])
        store.assign(served[-1], f"lease-{number}")

    assert [name[0] for name in served] == ["a", "b", "a", "b", "a", "b"]


def test_priority_comes_before_turns(store: Store) -> None:
    store.new_run("a0", store.alice, created_at=0)
    store.new_run("b0", store.bob, created_at=1, priority=1)

    assert order(store) == ["b0", "a0"]
