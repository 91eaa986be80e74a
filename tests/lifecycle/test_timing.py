"""F40: no jump of the machine's clock hastens an end."""

from hypothesis import given
from hypothesis import strategies as st

from moorage.lifecycle.garbage.rows import Reading
from moorage.lifecycle.garbage.timing import advance

MINUTE, HOUR, DAY, YEAR = 60_000, 3_600_000, 86_400_000, 365 * 86_400_000
START = Reading(50 * YEAR, HOUR, "boot", 0, 0)


def test_time_goes_on_as_the_clock_does() -> None:
    assert advance(START, START.clock_ms + HOUR, 2 * HOUR, "boot").clock_ms == START.clock_ms + HOUR


def test_clock_set_forward_is_not_believed() -> None:
    reading = advance(START, START.clock_ms + 10 * YEAR, HOUR + MINUTE, "boot")

    assert reading.clock_ms == START.clock_ms + MINUTE


def test_clock_set_back_is_believed() -> None:
    assert advance(START, START.clock_ms - 10 * YEAR, 2 * HOUR, "boot").clock_ms == START.clock_ms - 10 * YEAR


def test_clock_that_was_set_right_is_believed_after_two_days() -> None:
    reading, uptime, wall = START, HOUR, START.clock_ms + 10 * YEAR
    for hours in range(1, 60):
        reading = advance(reading, wall + hours * HOUR, uptime + hours * HOUR, "boot")
        is_ahead = reading.clock_ms == wall + hours * HOUR
        assert is_ahead == (hours >= 49), hours


def test_clock_that_leaps_again_and_again_is_not_believed() -> None:
    reading, wall = START, START.clock_ms
    for hours in range(1, 200):
        wall += YEAR
        reading = advance(reading, wall, HOUR + hours * HOUR, "boot")

    assert reading.clock_ms == START.clock_ms + 199 * HOUR


def test_clock_is_believed_after_the_machine_was_off() -> None:
    assert advance(START, START.clock_ms + 30 * DAY, 0, "next").clock_ms == START.clock_ms + 30 * DAY


@given(st.lists(st.tuples(st.integers(0, DAY), st.integers(-20 * YEAR, 20 * YEAR)), max_size=30))
def test_time_is_never_ahead_of_what_passed(steps: list[tuple[int, int]]) -> None:
    """Within a boot, before any leap can be believed: by no order of leaps."""
    reading, uptime, true_ms = START, HOUR, START.clock_ms
    for passed, leap in steps:
        passed_ms = passed // 100
        uptime += passed_ms
        true_ms += passed_ms
        reading = advance(reading, true_ms + leap, uptime, "boot")
        # a minute a step is what an ordinary clock may be set by
        assert reading.clock_ms <= true_ms + MINUTE * len(steps)
