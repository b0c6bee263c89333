"""Whole numbers and cursors, as clients send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyward.api.paging import InvalidCursor, cursor_of, moment_of
from comfyward.api.whole_numbers import whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("007", 7), ("100", 100)])
def test_a_whole_number_is_read(text: str, number: int) -> None:
    assert whole_number(text, most=100) == number


@pytest.mark.parametrize("text", ["", " 7", "7 ", "-1", "+1", "1_0", "1.0", "1e2", "²", "٣", "nan", "101", "9" * 5000])
def test_a_malformed_number_is_refused(text: str) -> None:
    assert whole_number(text, most=100) is None


def test_a_number_has_a_minimum() -> None:
    assert [whole_number(text, least=1, most=5) for text in ("0", "1", "5", "6")] == [None, 1, 5, None]


@pytest.mark.parametrize("zeros", [1, 8, 100])
def test_leading_zeros_do_not_bypass_limits(zeros: int) -> None:
    assert whole_number("0" * zeros + "501", most=500) is None


@given(st.integers(0, 10**18 - 1), st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_cursor_resumes_the_list(created_at: int, item_id: str) -> None:
    cursor = cursor_of(created_at, item_id)

    assert moment_of(cursor) == (created_at, item_id)
    assert cursor.replace("-", "").replace("_", "").isalnum(), "it goes into an address as it is"


@pytest.mark.parametrize("cursor", ["", "x", "é", "!!!", "A" * 10_000, "W10", "bnVsbA", "W3RydWUsIjEiXQ"])
def test_an_invalid_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        moment_of(cursor)


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidCursor):
        moment_of(cursor_of("name", True, "a", "id"))


def test_no_time_is_longer_than_the_database_holds() -> None:
    with pytest.raises(InvalidCursor):
        moment_of(cursor_of(10**18, "id"))
