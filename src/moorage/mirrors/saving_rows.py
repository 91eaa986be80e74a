"""The table `saving` and all its SQL. A day is one of UTC, as "2026-11-27"; "" is the sum of all."""

from collections.abc import Iterable
from typing import NamedTuple

from moorage.database import Database, Transaction


class Saving(NamedTuple):
    """How much of a kind there was on a day; `upstream` is empty for what pushes skipped."""

    day: str
    upstream: str
    kind: str
    amount: int


def add(tx: Transaction, savings: Iterable[Saving]) -> None:
    """Add what was counted to what is there."""
    for each in savings:
        tx.run(
            "INSERT INTO saving (day, upstream, kind, amount) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (day, upstream, kind) DO UPDATE SET amount = amount + excluded.amount",
            each,
        )


def forget_before(tx: Transaction, day: str) -> None:
    """Forget what was before a day, but not the sum."""
    tx.run("DELETE FROM saving WHERE day > '' AND day < ?", (day,))


async def read_days(db: Database, since: str, until: str) -> list[Saving]:
    """All from one day to another, that one included, in order."""
    rows = await db.all(
        "SELECT day, upstream, kind, amount FROM saving WHERE day BETWEEN ? AND ?"
        " ORDER BY day, upstream, kind",
        (since, until),
    )
    return [Saving(*row) for row in rows]


async def read_sums(db: Database, since: str, until: str) -> dict[str, dict[str, int]]:
    """From one day to another, that one included: how much of each kind, by upstream."""
    rows = await db.all(
        "SELECT upstream, kind, sum(amount) FROM saving WHERE day BETWEEN ? AND ? GROUP BY upstream, kind",
        (since, until),
    )
    sums: dict[str, dict[str, int]] = {}
    for upstream, kind, amount in rows:
        sums.setdefault(upstream, {})[kind] = int(amount)
    return sums
