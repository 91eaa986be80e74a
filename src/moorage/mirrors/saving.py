"""Savings: what was fetched, what was served, and what never had to be sent.

Counted in memory by each worker and written down now and then, by days of UTC: nothing waits for it. What
a worker that is killed had not written is lost, at most a few seconds of counting.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import RegistryError
from moorage.mirrors import saving_rows as rows
from moorage.mirrors.saving_rows import Saving

Kind = Literal[
    "fetched_bytes",
    "served_bytes",
    "hits",
    "misses",
    "stale",
    "passed",
    "heads",
    "gets",
    "push_skipped_bytes",
]
"""Bytes that came from an upstream, and that clients were sent of it; manifests and blobs that were here when
they were asked for, and that had to be fetched; answers that were stale, as it could not be asked; what could
not be kept and passed through; HEADs and GETs that it was asked; bytes that a push need not send because they
were here."""

KEPT: Final = timedelta(days=400)
"""How long a day is remembered."""

NO_UPSTREAM: Final = ""
"""Of which upstream is what pushes skipped."""

TOTAL: Final = ""
"""The day under which all that was ever counted is summed: no counter falls when days are forgotten."""

_DAY_MS: Final = 86_400_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Counted:
    """How much there was of each kind in some time."""

    fetched_bytes: int = 0
    served_bytes: int = 0
    hits: int = 0
    misses: int = 0
    stale: int = 0
    passed: int = 0
    heads: int = 0
    gets: int = 0
    push_skipped_bytes: int = 0

    @classmethod
    def of(cls, kinds: Mapping[str, int]) -> "Counted":
        """From sums by kind; a kind that another version counted is left out."""
        return cls(**{each.name: kinds.get(each.name, 0) for each in fields(cls)})

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @property
    def saved_bytes(self) -> int:
        """What clients were sent that no upstream had to send again."""
        return max(0, self.served_bytes - self.fetched_bytes)

    @property
    def hit_rate(self) -> float | None:
        """Of 1, which part of what was asked for was here; None where nothing was."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


class Savings:
    """What one worker process has counted since it last wrote it down."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counted: dict[tuple[str, str, str], int] = {}
        self._forgot_on = ""
        self._day_number, self._day = -1, ""

    def count(self, upstream: str, kind: Kind, amount: int = 1) -> None:
        """So much more of a kind."""
        number = now_ms() // _DAY_MS
        if number != self._day_number:
            self._day_number, self._day = number, today().isoformat()
        key = self._day, upstream, kind
        self._counted[key] = self._counted.get(key, 0) + amount

    async def write(self) -> None:
        """Write down what was counted. What cannot be written now is kept for the next time."""
        day = today()
        taken, self._counted = self._counted, {}
        is_new_day = self._forgot_on != day.isoformat()
        if not taken:
            return
        savings = [Saving(*key, amount) for key, amount in taken.items()]
        savings += [each._replace(day=TOTAL) for each in savings]
        oldest = (day - KEPT).isoformat()

        def work(tx: Transaction) -> None:
            rows.add(tx, savings)
            if is_new_day:
                rows.forget_before(tx, oldest)

        try:
            await self._db.write(work)
        except RegistryError as refusal:
            for key, amount in taken.items():
                self._counted[key] = self._counted.get(key, 0) + amount
            log.warning("savings_not_written", reason=str(refusal))
        else:
            self._forgot_on = day.isoformat()


def today() -> date:
    """The day that it is in UTC."""
    return datetime.fromtimestamp(now_ms() / 1000, UTC).date()
