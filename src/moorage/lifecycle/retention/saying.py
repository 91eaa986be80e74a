"""Rules, ages and moments in words."""

from datetime import UTC, datetime

from moorage.lifecycle.retention.rows import RetentionRule


def describe(rule: RetentionRule) -> str:
    """A rule as a person says it."""
    kept = []
    if rule.keep_newest is not None:
        kept.append(f"the newest {rule.keep_newest} by {rule.newest_by}")
    if rule.keep_pushed_ms is not None:
        kept.append(f"pushed within {show_age(rule.keep_pushed_ms)}")
    if rule.keep_pulled_ms is not None:
        kept.append(f"pulled within {show_age(rule.keep_pulled_ms)}")
    return f"of {rule.pattern} keep {', or '.join(kept)}"


def show_age(ms: int) -> str:
    """A length of time as rules are written: 30d, 36h, 90m."""
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms % unit_ms == 0:
            return f"{ms // unit_ms}{unit}"
    return f"{ms}ms"


def show_at(ms: int) -> str:
    """A moment as a person reads it."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M}Z"
