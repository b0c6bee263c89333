"""The pairing of runs and workers: order, affinity, and the limit of affinity."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from comfyward.dispatch.placement import HELD_FACTOR, NOBODY, Match, Rules, SkippedSince, Worker, match
from comfyward.runs.waiting_run import WaitingRun

WAIT_MS = 2000
PASS_MS = 60_000
RULES = Rules(affinity_wait_ms=WAIT_MS, pass_ms=PASS_MS)


def worker(name: str, *warm: str, idle: bool = True, pool: str = "L4", of: str = NOBODY, full: str = "") -> Worker:
    return Worker(name, pool, "default", idle, frozenset(warm), account=of, full=frozenset(full))


def run(
    name: str, *models: str, queued_at: int = 0, pool: str = "L4", avoid: str | None = None, of: str = ""
) -> WaitingRun:
    return WaitingRun(name, pool, "default", queued_at, frozenset(models), avoid, account_id=of)


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


def test_a_run_goes_to_the_worker_that_has_its_accounts_comfyui() -> None:
    workers = [worker("fresh"), worker("bobs", of="bob"), worker("alices", of="alice")]

    assert pairs(workers, [run("r", of="alice")]) == {"r": "alices"}
    assert pairs(workers[:2], [run("r", of="alice")]) == {"r": "fresh"}
    assert pairs(workers[1:2], [run("r", of="alice")]) == {"r": "bobs"}


def test_models_loaded_for_another_account_are_not_held() -> None:
    workers = [worker("bobs", "a", of="bob"), worker("alices", "b", of="alice")]

    assert pairs(workers, [run("r", "a", of="alice")]) == {"r": "alices"}
    found = match([worker("w", "a", of="bob")], [run("cold", "a", of="alice"), run("warm", of="bob")], [], 0, RULES)
    assert [each.id for _, each in found.pairs] == ["warm"]
    assert found.skipped == {"cold": SkippedSince(0, 0)}


def test_an_account_with_a_worker_of_its_own_overtakes_another_for_a_bounded_time() -> None:
    queue = [run("bobs", of="bob"), run("alices", of="alice")]

    def taken(now: int) -> str:
        skipped = {"bobs": SkippedSince(0, 0)}
        return match([worker("w", of="alice")], queue, [], now, RULES, skipped).pairs[0][1].id

    assert (taken(PASS_MS - 1), taken(PASS_MS)) == ("alices", "bobs")


def test_late_runs_of_an_account_follow_each_other() -> None:
    queue = [run("carols", of="carol"), run("bobs", of="bob")]
    late = {each.id: SkippedSince(0, 0) for each in queue}

    found = match([worker("w", of="bob")], queue, [], PASS_MS, RULES, late)

    assert [each.id for _, each in found.pairs] == ["bobs"], "its ComfyUI has just been started"


def test_no_worker_stays_idle_beside_a_run_of_another_account_for_longer_than_the_bound() -> None:
    idle, busy = worker("idle", of="bob"), worker("busy", of="alice", idle=False)

    for asking, others in (([idle], [busy]), ([idle, busy], [])):
        assert pairs(asking, [run("r", of="alice")], others, now=WAIT_MS - 1) == {}
        assert pairs(asking, [run("r", of="alice")], others, now=WAIT_MS) == {"r": "idle"}


def test_runs_are_staged_on_the_accounts_own_worker_while_none_is_idle() -> None:
    busy = [worker("bobs", of="bob", idle=False), worker("alices", of="alice", idle=False)]

    assert pairs(busy, [run("r", of="alice")]) == {"r": "alices"}


def test_a_worker_gets_no_more_runs_of_an_account_whose_files_it_fetches() -> None:
    fetching = worker("w", of="a", full="a", idle=False)

    assert pairs([fetching], [run("one", of="a"), run("two", of="b")], now=WAIT_MS) == {"two": "w"}


def test_every_account_is_served_in_a_full_queue() -> None:
    """One worker, four accounts with more runs than it can do: nobody waits for longer than the others' shares."""
    waiting = [
        WaitingRun(f"{turn}{name}", "L4", "default", 0, frozenset(), turn=turn, account_id=name)
        for turn in range(150)
        for name in "abcd"
    ]
    have, skipped, now, served, switches = NOBODY, {}, 0, [], 0
    while now < 20 * PASS_MS:
        found = match([worker("w", of=have)], waiting[:200], [], now, RULES, skipped)
        skipped, [(_, taken)] = found.skipped, found.pairs
        waiting.remove(taken)
        served.append((now, taken.account_id))
        now += 8_000 + 2_000 * (taken.account_id != have)
        switches, have = switches + (taken.account_id != have), taken.account_id

    assert switches * 2_000 < now / 20, "less than 5 % of the time"
    for name in "abcd":
        times = [at for at, account in served if account == name]
        gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
        assert max(gaps) < 3 * 3 * PASS_MS
        assert abs(len(times) - len(served) / 4) < len(served) / 10


names = st.sampled_from("abcd")
accounts = st.sampled_from(["", "x", "y"])
workers = st.lists(st.builds(worker, names, names, idle=st.booleans(), of=accounts), unique_by=lambda each: each.id)
runs = st.lists(
    st.builds(run, st.uuids().map(str), names, queued_at=st.integers(0, 5000), of=accounts),
    unique_by=lambda each: each.id,
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
