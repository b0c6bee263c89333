"""The pairing of runs and workers: order, affinity, and the limit of affinity."""

from hypothesis import given
from hypothesis import strategies as st

from comfyward.dispatch.placement import HELD_FACTOR, Match, Rules, SkippedSince, Worker, match
from comfyward.runs.waiting_run import WaitingRun

WAIT_MS = 2000
PASS_MS = 60_000
RULES = Rules(affinity_wait_ms=WAIT_MS, pass_ms=PASS_MS)


def worker(name: str, *warm: str, idle: bool = True, pool: str = "L4") -> Worker:
    return Worker(name, pool, "default", idle, frozenset(warm))


def run(name: str, *models: str, queued_at: int = 0, pool: str = "L4", avoid: str | None = None) -> WaitingRun:
    return WaitingRun(name, pool, "default", queued_at, frozenset(models), avoid)


def pairs(
    asking: list[Worker], queue: list[WaitingRun], others: list[Worker] | None = None, now: int = 0
) -> dict[str, str]:
    return {each.id: chosen.id for chosen, each in match(asking, queue, others or [], now, RULES).pairs}


def test_a_run_goes_to_the_worker_that_holds_its_models() -> None:
    assert pairs([worker("cold"), worker("warm", "a")], [run("r", "a")]) == {"r": "warm"}


def test_an_idle_worker_comes_before_one_that_would_stage_ahead() -> None:
    assert pairs([worker("a-busy", idle=False), worker("b-idle")], [run("r")]) == {"r": "b-idle"}


def test_a_cold_worker_skips_a_run_while_a_warm_one_is_expected() -> None:
    cold, warm = worker("cold"), worker("warm", "a", idle=False)

    assert pairs([cold], [run("r", "a")], [cold, warm], now=WAIT_MS - 1) == {}
    assert pairs([cold], [run("r", "a")], [cold, warm], now=WAIT_MS) == {"r": "cold"}
    assert pairs([cold], [run("r", "a"), run("other")], [cold, warm]) == {"other": "cold"}


def test_a_worker_takes_the_first_run_whose_models_it_holds() -> None:
    queue = [run("cold", "b"), run("warm", "a"), run("warmer", "a")]

    found = match([worker("w", "a")], queue, [], WAIT_MS, RULES)

    assert [(each.id, chosen.id) for chosen, each in found.pairs] == [("warm", "w")]
    assert found.skipped == {"cold": SkippedSince(WAIT_MS, WAIT_MS)}


def test_skipping_a_run_is_bounded_in_time() -> None:
    queue = [run("cold", "b"), run("warm", "a")]

    def taken(now: int, skipped: SkippedSince, others: list[Worker]) -> str:
        found: Match = match([worker("w", "a")], queue, others, now, RULES, {"cold": skipped})
        return found.pairs[0][1].id

    assert taken(PASS_MS - 1, SkippedSince(0, 0), []) == "warm"
    assert taken(PASS_MS, SkippedSince(0, 0), []) == "cold"
    held = [worker("other", "b", idle=False)]  # whose next it is: it may be overtaken for longer
    assert taken(PASS_MS, SkippedSince(0, None), held) == "warm"
    assert taken(PASS_MS * HELD_FACTOR, SkippedSince(0, None), held) == "cold"


def test_nothing_overtakes_a_more_urgent_run() -> None:
    urgent = WaitingRun("urgent", "L4", "default", 0, frozenset("b"), priority=1)

    assert pairs([worker("w", "a")], [urgent, run("warm", "a")]) == {"urgent": "w"}


def test_a_failed_run_prefers_another_worker() -> None:
    bad, good = worker("bad"), worker("good")

    assert pairs([bad, good], [run("r", avoid="bad")]) == {"r": "good"}
    assert pairs([bad], [run("r", avoid="bad")], [good]) == {}
    assert pairs([bad], [run("r", avoid="bad")], [good], now=WAIT_MS) == {"r": "bad"}
    assert pairs([bad], [run("r", avoid="bad")]) == {"r": "bad"}  # there is no other


def test_pools_do_not_mix() -> None:
    assert pairs([worker("t4", pool="T4")], [run("r", pool="L4")]) == {}


names = st.sampled_from("abcd")
workers = st.lists(st.builds(worker, names, names, idle=st.booleans()), unique_by=lambda each: each.id)
runs = st.lists(
    st.builds(run, st.uuids().map(str), names, queued_at=st.integers(0, 5000)), unique_by=lambda each: each.id
)


@given(workers, runs, workers, st.integers(0, 10_000))
def test_each_worker_and_each_run_is_paired_once(
    asking: list[Worker], queue: list[WaitingRun], others: list[Worker], now: int
) -> None:
    found = match(asking, queue, others, now, RULES).pairs

    assert len({each.id for each, _ in found}) == len(found)
    assert len({each.id for _, each in found}) == len(found)
    assert all(each.serves(wanted) for each, wanted in found)
    if asking and queue and now >= 5000 + WAIT_MS:
        assert len(found) == min(len(asking), len(queue)), "affinity never starves a run"
