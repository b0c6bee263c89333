"""Waits for what a server shows, which looks anew once a second or when its database tells it to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.stack.stack import END_TIMEOUT_S

T = TypeVar("T")


def until(is_met: Callable[[T], bool], look: Callable[[], T]) -> T:
    """What is seen once it meets a condition."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while not is_met(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen
