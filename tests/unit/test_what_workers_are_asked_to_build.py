"""Workers are asked to build what runs wait for, what is to be tried, and what is current, until they have told."""

import pytest

from comfyward.dispatch.rechecks import gone
from comfyward.dispatch.revisions import DEFAULT, Bound, Situation
from comfyward.errors import InvalidEnvironment
from comfyward.store.environments import Standing
from comfyward.store.trials import Present

HERE, THERE = "linux-x86_64/py3.11", "linux-aarch64/py3.11"
PORTRAITS = Standing(2, {1: {HERE: "p1"}, 2: {HERE: "p2", THERE: "p2-arm"}, 3: {HERE: "p3"}}, frozenset({3}))
VIDEO = Standing(1, {1: {HERE: "v1"}}, frozenset())
DRAFT = Standing(0, {}, frozenset())


def situation(*present: Present, queued: dict[str, list[str]] | None = None) -> Situation:
    standing = {"draft": DRAFT, "portraits": PORTRAITS, "video": VIDEO}
    return Situation(standing, present, {"L4": {HERE: 2}, "GH": {THERE: 1}, "old": {"": 1}}, queued or {})


def said(digest: str, state: str, worker: str = "w", pool: str = "L4") -> Present:
    return Present(worker, pool, digest, state, 0)


def test_runs_come_before_what_is_to_be_tried_and_that_before_what_is_current() -> None:
    now = situation(queued={"L4": ["p1", "gone"], "GH": ["p2-arm"]})

    assert now.wanted("w", "L4", HERE) == ["p1", "p3", "p2", "v1"]
    assert now.wanted("w", "GH", THERE) == ["p2-arm"]
    assert now.wanted("w", "L4", "another") == []


def test_a_worker_is_asked_until_it_has_said_how_it_went() -> None:
    now = situation(said("p3", "failed"), said("p2", "ready"), said("v1", "trying"), said("v1", "ready", "another"))

    assert now.wanted("w", "L4", HERE) == ["v1"]
    assert now.wanted("another", "L4", HERE) == ["p3", "p2"]


def test_a_name_stands_for_its_current_revision_for_the_target_of_the_pool() -> None:
    now = situation()

    assert now.bound("portraits", "L4") == [Bound("p2", "portraits", 2)]
    assert now.bound("portraits", "GH") == [Bound("p2-arm", "portraits", 2)]
    assert now.bound("portraits@1", "L4") == [Bound("p1", "portraits@1", 1)]
    assert [bound.key for bound in now.bound("portraits", "without workers")] == ["p2-arm", "p2"]
    assert now.bound("", "old") == now.bound("default", "old") == [DEFAULT]


@pytest.mark.parametrize(
    ("asked", "pool", "told"),
    [
        ("portrait", "L4", "There is no environment 'portrait'."),
        ("draft", "L4", "The environment 'draft' has no current revision yet."),
        ("portraits@9", "L4", "There is no revision 9 of the environment 'portraits'."),
        ("video", "GH", f"No worker of pool GH can have 'video@1': it is locked for {HERE}."),
        ("video", "old", f"No worker of pool old can have 'video@1': it is locked for {HERE}."),
        ("video@1@2", "L4", "'video@1@2' is not a revision such as video@3."),
    ],
)
def test_what_no_run_can_get_is_refused(asked: str, pool: str, told: str) -> None:
    with pytest.raises(InvalidEnvironment) as refused:
        situation().bound(asked, pool)

    assert refused.value.message == told


def test_an_environment_is_gone_where_workers_are_and_none_has_it() -> None:
    queued = {"L4": ["p1", "p2"], "without workers": ["p1"]}

    now = situation(said("p2", "ready"), said("p1", "building"), said("p1", "ready", "other", "GH"), queued=queued)

    assert gone(now) == [("L4", "p1")]


def test_an_environment_has_failed_once_it_did_so_at_all_workers_that_could_have_it() -> None:
    failed = [said("p2", "failed"), said("p2", "failed", "another")]

    assert situation(failed[0]).may_have("p2", "L4")
    assert not situation(*failed).may_have("p2", "L4")
    assert situation(*failed).has_failed("p2", "L4")
    assert not situation(*failed).has_failed("p2-arm", "L4")  # nobody here could have it
    assert not situation(*failed).may_have("p2-arm", "L4")
    assert not situation(*failed).has_failed("p2", "without workers")
    assert situation(*failed).may_have("default", "L4")
