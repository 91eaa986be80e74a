"""What time it is for things that come to their end: a clock that no jump of the machine's hastens.

Within one boot of the machine time goes on as its uptime does. A clock that was set forward ends no
lease and no grace of the trash early; one that is set right after all is believed when it has kept
step for two days. A clock that was set back lets things last longer.
"""

from moorage.clock import now_ms, uptime
from moorage.database import Database, Transaction
from moorage.lifecycle.garbage.rows import Reading, find_clock, keep_clock, read_clock

_BELIEVED_AFTER_MS = 48 * 3600 * 1000
_DRIFT_MS = 60_000
"""What an ordinary clock may be set by without being asked."""


def trusted_now_ms(tx: Transaction) -> int:
    """Milliseconds since 1970-01-01 UTC; kept for the next time."""
    reading = advance(read_clock(tx), now_ms(), *uptime())
    keep_clock(tx, reading)
    return reading.clock_ms


async def find_trusted_now_ms(db: Database) -> int:
    """The same, kept nowhere: for a look."""
    return advance(await find_clock(db), now_ms(), *uptime()).clock_ms


def advance(last: Reading, wall_ms: int, uptime_ms: int, boot: str) -> Reading:
    """The next reading after `last`, from what the machine's clocks say."""
    if boot != last.boot or not last.clock_ms:
        # the machine was off for a while that nothing measured
        return Reading(wall_ms, uptime_ms, boot, 0, 0)
    expected_ms = last.clock_ms + max(0, uptime_ms - last.uptime_ms)
    ahead_ms = wall_ms - expected_ms
    if ahead_ms <= _DRIFT_MS:
        return Reading(wall_ms, uptime_ms, boot, 0, 0)
    is_same_leap = abs(ahead_ms - last.ahead_ms) <= _DRIFT_MS
    since_ms = last.ahead_since_ms if is_same_leap else uptime_ms
    if uptime_ms - since_ms >= _BELIEVED_AFTER_MS:
        return Reading(wall_ms, uptime_ms, boot, 0, 0)
    return Reading(expected_ms, uptime_ms, boot, ahead_ms, since_ms)
