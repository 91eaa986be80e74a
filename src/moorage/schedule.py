"""When work is done again and again: `every 30s`, five fields of cron in UTC, or `off`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

# every     ::= "every " number ("s" | "m" | "h" | "d")
_EVERY = re.compile(r"every ([1-9][0-9]{0,5})([smhd])", re.ASCII)
_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FIELDS = 5
OFF = "off"
WANTED = "want `every 30s` (or m, h, d), five fields of cron as `0 3 * * *`, or `off`"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Moments one after another. `every_ms` and `cron` both None: never."""

    every_ms: int | None = None
    cron: str | None = None

    def next_after(self, at_ms: int) -> int | None:
        """The first moment after `at_ms`, both in milliseconds since 1970-01-01 UTC; None: never."""
        if self.every_ms is not None:
            return at_ms + self.every_ms
        if self.cron is None:
            return None
        moment = next(CronSim(self.cron, datetime.fromtimestamp(at_ms / 1000, UTC)))
        return int(moment.timestamp()) * 1000


def read_schedule(text: str) -> Schedule:
    """A schedule as an operator writes it.

    Raises ValueError with a sentence.
    """
    if text == OFF:
        return Schedule()
    every = _EVERY.fullmatch(text)
    if every is not None:
        return Schedule(every_ms=int(every[1]) * _MS[every[2]])
    # six fields would be seconds first
    if len(text.split()) != _FIELDS:
        raise ValueError(f"{WANTED}; this is {text!r}")
    try:
        next(CronSim(text, datetime.fromtimestamp(0, UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{WANTED}; this is {text!r}") from error
    return Schedule(cron=text)
