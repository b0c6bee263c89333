"""The speed of a download is measured over all of its connections, in windows of the time in which somebody reads."""

import pytest

from comfyward.files.pace import ANY_SPEED, LeastSpeed, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def read(pace: Pace, clock: Clock, seconds: float, size: int) -> None:
    pace.begin_read()
    clock.now += seconds
    pace.end_read(size)


def test_a_window_below_the_least_speed_is_slow(clock: Clock) -> None:
    pace = Pace(LeastSpeed(100, 30), clock)
    for _ in range(29):
        read(pace, clock, 1, 1)
    assert pace.slow is None
    read(pace, clock, 1, 1)
    assert pace.slow == 1


def test_the_window_ends_while_somebody_still_waits(clock: Clock) -> None:
    pace = Pace(LeastSpeed(100, 30), clock)
    pace.begin_read()
    clock.now += 10
    assert pace.window_left_s() == 20
    clock.now += 20
    assert pace.slow == 0


def test_a_fast_beginning_does_not_pay_for_a_slow_end(clock: Clock) -> None:
    pace = Pace(LeastSpeed(100, 30), clock)
    read(pace, clock, 30, 1 << 30)
    assert pace.slow is None
    read(pace, clock, 30, 2999)
    assert pace.slow == pytest.approx(2999 / 30)


def test_connections_count_together(clock: Clock) -> None:
    pace = Pace(LeastSpeed(100, 30), clock)
    for _ in range(30):
        for _ in range(8):
            pace.begin_read()
        clock.now += 1
        for _ in range(8):
            pace.end_read(13)
    assert pace.slow is None


def test_time_in_which_nobody_reads_does_not_count(clock: Clock) -> None:
    pace = Pace(LeastSpeed(100, 30), clock)
    read(pace, clock, 29, 1)
    clock.now += 3600
    assert pace.slow is None
    read(pace, clock, 1, 3000)
    assert pace.slow is None


def test_any_speed_is_allowed_if_no_least_is_set(clock: Clock) -> None:
    pace = Pace(ANY_SPEED, clock)
    read(pace, clock, 3600, 0)
    assert pace.slow is None
