"""A revision that promotes itself waits for every present worker that counts."""

from __future__ import annotations

from comfyward.dispatch.promotions import is_clean
from comfyward.store.workers import CrewMember

DIGESTS = {"linux/py3.11": "a", "linux/py3.12": "b"}


def test_every_worker_of_each_target_must_have_it_ready() -> None:
    first, second = CrewMember("w1", "linux/py3.11", True), CrewMember("w2", "linux/py3.12", True)
    assert is_clean(DIGESTS, [first], {("w1", "a")})
    assert not is_clean(DIGESTS, [first, second], {("w1", "a")})
    assert not is_clean(DIGESTS, [first, second], {("w1", "a"), ("w2", "a")})
    assert is_clean(DIGESTS, [first, second], {("w1", "a"), ("w2", "b")})


def test_without_a_worker_that_could_have_it_nothing_is_clean() -> None:
    assert not is_clean(DIGESTS, [], set())
    assert not is_clean(DIGESTS, [CrewMember("w", "windows/py3.11", True)], {("w", "a")})


def test_workers_of_others_count_only_where_the_operator_has_none() -> None:
    own, shared = CrewMember("own", "linux/py3.11", False), CrewMember("any", "linux/py3.11", True)
    assert is_clean(DIGESTS, [own], {("own", "a")})
    assert not is_clean(DIGESTS, [own, shared], {("own", "a")})
    assert is_clean(DIGESTS, [own, shared], {("any", "a")})
    other = CrewMember("other", "linux/py3.12", False)
    assert not is_clean(DIGESTS, [other, shared], {("any", "a")})
