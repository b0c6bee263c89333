"""Waits for what a server shows, which looks anew once a second or when its database tells it to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tests.looks import looks
from tests.stack.stack import END_TIMEOUT_S

T = TypeVar("T")


def until(is_met: Callable[[T], bool], look: Callable[[], T]) -> T:
    """What is seen once it meets a condition."""
    for _ in looks(END_TIMEOUT_S):
        if is_met(seen := look()):
            return seen
    raise AssertionError(seen)
