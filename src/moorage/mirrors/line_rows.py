"""The table `upstream_line` and all its SQL: what all processes know of the lines to upstreams.

Times are in milliseconds since 1970-01-01 UTC.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Transaction

State = Literal["closed", "open", "half-open"]


class Line(NamedTuple):
    """The line to one address. `failures`: how often in a row; `retry_at`: when an open one is tried next."""

    state: State = "closed"
    failures: int = 0
    opened_at: int | None = None
    retry_at: int | None = None
    last_error: str | None = None
    failed_at: int | None = None
    answered_at: int | None = None
    quota_limit: int | None = None
    quota_left: int | None = None
    quota_at: int | None = None

    def is_due(self, now: int) -> bool:
        """Whether it is open and to be tried: also where it failed by a clock that was set back since."""
        return self.state != "closed" and ((self.retry_at or 0) <= now or (self.failed_at or 0) > now)


Change = Callable[[Line], Line]


_COLUMNS = (
    "state, failures, opened_at, retry_at, last_error, failed_at, answered_at,"
    " quota_limit, quota_left, quota_at"
)


async def read_lines(db: Database) -> dict[tuple[str, str], Line]:
    """Every line, by the names of upstreams and their addresses."""
    rows = await db.all(f"SELECT upstream, address, {_COLUMNS} FROM upstream_line")
    return {(row[0], row[1]): Line(*row[2:]) for row in rows}


def find_line(tx: Transaction, upstream: str, address: str) -> Line:
    """The line as it is now."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM upstream_line WHERE upstream = ? AND address = ?", (upstream, address)
    )
    return Line() if row is None else Line(*row)


def put_line(tx: Transaction, upstream: str, address: str, line: Line) -> None:
    """Write down what is known of a line."""
    tx.run(
        f"""
        INSERT INTO upstream_line (upstream, address, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (upstream, address) DO UPDATE SET state = excluded.state, failures = excluded.failures,
            opened_at = excluded.opened_at, retry_at = excluded.retry_at, last_error = excluded.last_error,
            failed_at = excluded.failed_at, answered_at = excluded.answered_at,
            quota_limit = excluded.quota_limit, quota_left = excluded.quota_left, quota_at = excluded.quota_at
        """,
        (upstream, address, *line),
    )


def claim_trial(tx: Transaction, upstream: str, address: str, until: int) -> bool:
    """Be the one who tries an open line that is due; False when another does, or it is not due."""
    now = now_ms()
    return bool(
        tx.run(
            "UPDATE upstream_line SET state = 'half-open', retry_at = ?"
            " WHERE upstream = ? AND address = ? AND state <> 'closed' AND (retry_at <= ? OR failed_at > ?)",
            (until, upstream, address, now, now),
        )
    )
