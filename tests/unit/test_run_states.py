"""The state machine: every end of an attempt leads somewhere allowed, and a final state is never left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyward.runs.run import (
    ENDINGS,
    FINAL_STATES,
    TRANSITIONS,
    EndReason,
    PublicStatus,
    State,
    next_state,
    public_status,
    states_of,
)


def test_every_end_reason_has_a_meaning() -> None:
    assert set(ENDINGS) == set(EndReason)
    for reason, ending in ENDINGS.items():
        assert ending.state in FINAL_STATES
        if ending.state is State.FAILED:
            assert ending.hint, f"{reason} tells nobody what to do"
            assert ending.retryable != ending.callers_fault, "what is ours is tried again, what is theirs is not"


@given(st.sampled_from(list(EndReason)), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_an_attempt_ends_in_an_allowed_state(reason: EndReason, attempt: int, most: int, cancelled: bool) -> None:
    state = next_state(reason, attempt, most, cancel_requested=cancelled)

    assert state in TRANSITIONS[State.RUNNING]
    if attempt >= most:
        assert state in FINAL_STATES, "attempts are finite"
    if cancelled and reason is not EndReason.COMPLETED:
        assert state is State.CANCELLED


def test_out_of_memory_is_tried_twice_at_most() -> None:
    assert next_state(EndReason.OOM, 1, 10, cancel_requested=False) is State.QUEUED
    assert next_state(EndReason.OOM, 2, 10, cancel_requested=False) is State.FAILED


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_a_final_state_is_never_left(state: State) -> None:
    assert TRANSITIONS[state] == frozenset()


def test_every_end_has_a_final_public_status() -> None:
    for state in FINAL_STATES:
        assert public_status(state, None) in (PublicStatus.COMPLETED, PublicStatus.ERROR)
    assert public_status(State.FAILED, EndReason.INSUFFICIENT_CREDIT) is PublicStatus.INSUFFICIENT_CREDIT


def test_filters_by_public_status_cover_every_state() -> None:
    covered = {state for status in PublicStatus for state in states_of(status)}
    assert covered == set(State)
