"""Schedules as an operator writes them."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from moorage.config import JobSettings
from moorage.schedule import read_schedule

NOON = int(datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("text", "after_s"),
    [
        ("every 30s", 30),
        ("every 90m", 5400),
        ("every 2h", 7200),
        ("every 7d", 604_800),
        ("* * * * *", 30),
        ("0 3 * * *", 15 * 3600 - 30),
        ("*/15 * * * *", 870),
        ("0 0 1 JAN *", 306 * 86_400 - 12 * 3600 - 30),
    ],
)
def test_next_moment(text: str, after_s: int) -> None:
    assert read_schedule(text).next_after(NOON) == NOON + after_s * 1000


def test_off_has_no_next_moment() -> None:
    assert read_schedule("off").next_after(NOON) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "daily",
        "every",
        "every 0s",
        "every 5",
        "every -5s",
        "every 1000000s",
        "every 1.5h",
        "* * * *",
        "0 * * * * *",
        "61 * * * *",
        "0 0 31 2 *",
        "OFF",
    ],
)
def test_what_is_no_schedule_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"every 30s.*cron.*off"):
        read_schedule(text)


@dataclass(frozen=True, slots=True)
class WithErrands(JobSettings):
    """As it looks with one more kind of job."""

    errands: str = "every 1m"


def test_bad_schedule_in_the_settings_is_named() -> None:
    assert WithErrands().problems() == []
    ((key, sentence),) = WithErrands(errands="dayly").problems()
    assert key == "errands"
    assert "'dayly'" in sentence
