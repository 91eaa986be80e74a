"""What a figure is called, and the bar it is held to."""

from dataclasses import dataclass
from enum import Enum


class Sense(Enum):
    """Which side of a bar is the good one."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit on the ratio to the reference, or on the subject's own figure."""

    sense: Sense
    limit: float
    is_ratio: bool

    def is_met(self, figure: float) -> bool:
        """Say whether `figure` (a ratio, or the subject's own) is on the good side."""
        return figure >= self.limit if self.sense is Sense.AT_LEAST else figure <= self.limit


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table: a key of what a row measures."""

    key: str
    title: str
    unit: str
    bar: Bar | None = None


def ratio_at_least(limit: float) -> Bar:
    """At least `limit` times the reference."""
    return Bar(Sense.AT_LEAST, limit, is_ratio=True)


def ratio_at_most(limit: float) -> Bar:
    """At most `limit` times the reference."""
    return Bar(Sense.AT_MOST, limit, is_ratio=True)


def at_least(limit: float) -> Bar:
    """At least `limit`, whatever the reference does."""
    return Bar(Sense.AT_LEAST, limit, is_ratio=False)


def at_most(limit: float) -> Bar:
    """At most `limit`, whatever the reference does."""
    return Bar(Sense.AT_MOST, limit, is_ratio=False)
