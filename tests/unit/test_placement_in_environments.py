"""Runs go to workers that have their environment ready, first to those whose ComfyUI is of it, in bounded time."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from comfyward.dispatch.placement import NOBODY, Kind, Rules, SkippedSince, Worker, match
from comfyward.runs.waiting_run import WaitingRun

PASS_MS = 60_000
RULES = Rules(affinity_wait_ms=0, pass_ms=PASS_MS)


def worker(
    name: str, running: str, *ready: str, of: str = NOBODY, idle: bool = True, warm: tuple[str, ...] = ()
) -> Worker:
    return Worker(name, "L4", running, idle, frozenset(warm), account=of, ready=frozenset({"default", *ready}))


def run(name: str, environment: str, *models: str, of: str = "alice", queued_at: int = 0) -> WaitingRun:
    return WaitingRun(name, "L4", environment, queued_at, frozenset(models), account_id=of)


def pairs(asking: list[Worker], queue: list[WaitingRun], rules: Rules = RULES) -> dict[str, str]:
    return {each.id: chosen.id for chosen, each in match(asking, queue, [], 0, rules).pairs}


def test_a_run_goes_only_to_workers_that_have_its_environment_ready() -> None:
    older = Worker("older", "L4", "default", True, frozenset())

    assert pairs([older, worker("w", "default", "p")], [run("r", "p")]) == {"r": "w"}
    assert pairs([older, worker("w", "default", "q")], [run("r", "p")]) == {}
    assert pairs([worker("w", "p", "p")], [run("back", "default")]) == {"back": "w"}


def test_the_running_environment_counts_before_the_account_and_that_before_the_models() -> None:
    elsewhere = worker("elsewhere", "q", "p", "q", of="alice", warm=("m",))
    bobs, alices = worker("bobs", "p", "p", of="bob", warm=("m",)), worker("alices", "p", "p", of="alice")

    assert pairs([elsewhere, bobs], [run("r", "p", "m")]) == {"r": "bobs"}
    assert pairs([elsewhere, bobs, alices], [run("r", "p", "m")]) == {"r": "alices"}
    assert pairs([elsewhere, worker("alices", "p", "p", of="alice", warm=("m",)), alices], [run("r", "p", "m")]) == {
        "r": "alices"
    }


def test_a_worker_goes_on_with_its_environment_for_a_bounded_time() -> None:
    queue = [run("other", "q"), run("same", "p")]
    one = [worker("w", "p", "p", "q")]

    assert pairs(one, queue) == {"same": "w"}
    late = {"other": SkippedSince(0, 0)}
    assert [r.id for _, r in match(one, queue, [], PASS_MS, RULES, late).pairs] == ["other"]
    assert pairs(one, [run("other", "q")]) == {"other": "w"}


@given(
    st.lists(st.tuples(st.sampled_from("dpq"), st.frozensets(st.sampled_from("dpq")), st.booleans()), max_size=6),
    st.lists(st.tuples(st.sampled_from("dpq"), st.sampled_from(["alice", "bob"])), max_size=6),
)
def test_every_pair_can_run_and_nothing_that_could_run_is_left(
    workers: list[tuple[str, frozenset[str], bool]], runs: list[tuple[str, str]]
) -> None:
    asking = [
        Worker(f"w{n}", "L4", running, idle, frozenset(), ready=ready)
        for n, (running, ready, idle) in enumerate(workers)
    ]
    queue = [run(f"r{n}", environment, of=of) for n, (environment, of) in enumerate(runs)]

    found = match(asking, queue, [], 10**9, RULES).pairs

    assert all(chosen.serves(each) for chosen, each in found)
    taken = {chosen.id for chosen, _ in found}, {each.id for _, each in found}
    left = itertools.product([w for w in asking if w.id not in taken[0]], [r for r in queue if r.id not in taken[1]])
    assert not any(one.serves(each) for one, each in left)


def test_a_thousand_workers_with_thirty_environments_are_matched_in_one_round() -> None:
    ready = frozenset(f"e{n}" for n in range(30))
    asking = [
        Worker(f"w{n}", "L4", f"e{n % 30}", True, frozenset({f"m{n}"}), account=f"a{n % 100}", ready=ready)
        for n in range(1000)
    ]
    queue = [run(f"r{n}", f"e{n % 30}", of=f"a{n % 70}") for n in range(200)]

    found = match(asking, queue, [], 0, Rules(affinity_wait_ms=0, pass_ms=PASS_MS, isolated=True))

    assert len(found.pairs) == 200
    assert all(chosen.environment == each.environment for chosen, each in found.pairs)


class Elsewhere(Worker):
    """A worker that no run of the queue is near to."""

    @property
    def kind(self) -> Kind:  # type: ignore[override]
        raise AssertionError(f"{self.id} was looked at")


def test_of_ten_thousand_busy_workers_only_those_near_to_a_run_are_looked_at() -> None:
    away = [Elsewhere(f"w{n}", "L4", f"e{n % 5}", False, frozenset(), account=f"a{n % 500}") for n in range(10_000)]
    own = Worker("own", "L4", "e1", False, frozenset(), account="me", ready=frozenset({"e1"}))
    free = Worker("free", "L4", "e2", True, frozenset(), account="other", ready=frozenset({"e1", "e2"}))
    queue = [run("r", "e1", of="me")]

    early = match([free], queue, [*away, own], 0, Rules(affinity_wait_ms=1, pass_ms=PASS_MS, isolated=True))
    late = match([free], queue, [*away, own], 1, Rules(affinity_wait_ms=1, pass_ms=PASS_MS, isolated=True))

    assert (early.pairs, [chosen.id for chosen, _ in late.pairs]) == ([], ["free"])
