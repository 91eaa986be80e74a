"""The tables `store_state`, `stray_file` and `garbage_pause`, and all their SQL."""

from collections.abc import Sequence
from typing import NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Transaction


class StoreState(NamedTuple):
    """Whether the rows are those that belong to the files. Times are in milliseconds since 1970-01-01 UTC.

    `mistrusted`: why they may not be; None when all is well. `report` is the last check's, as JSON.
    """

    sequence: int
    mistrusted: str | None
    mistrusted_at: int | None
    checked_at: int | None
    report: str | None

    @property
    def is_looked_at(self) -> bool:
        """Whether a check was begun after the store came to be mistrusted."""
        return self.mistrusted_at is None or (self.checked_at or 0) >= self.mistrusted_at


_STATE = "SELECT sequence, mistrusted, mistrusted_at, checked_at, report FROM store_state WHERE id = 1"


async def read_state(db: Database) -> StoreState:
    """The one row."""
    row = await db.one(_STATE)
    assert row is not None  # noqa: S101 - the migration put it there
    return StoreState(*row)


def find_state(tx: Transaction) -> StoreState:
    """The same inside a transaction."""
    row = tx.one(_STATE)
    assert row is not None  # noqa: S101 - the migration put it there
    return StoreState(*row)


def set_sequence(tx: Transaction, sequence: int) -> None:
    """Never a lower one."""
    tx.run("UPDATE store_state SET sequence = max(sequence, ?) WHERE id = 1", (sequence,))


def mistrust(tx: Transaction, reason: str) -> bool:
    """Stop the collecting of garbage. The first reason is kept; False when there is one already."""
    changed = tx.run(
        "UPDATE store_state SET mistrusted = ?, mistrusted_at = ? WHERE id = 1 AND mistrusted IS NULL",
        (reason, now_ms()),
    )
    return bool(changed)


def trust(tx: Transaction) -> None:
    """Let garbage be collected again."""
    tx.run("UPDATE store_state SET mistrusted = NULL, mistrusted_at = NULL WHERE id = 1")


def set_checked(tx: Transaction, checked_at: int, report: str) -> None:
    """Keep what a check that was begun then has found."""
    tx.run("UPDATE store_state SET checked_at = ?, report = ? WHERE id = 1", (checked_at, report))


def note_strays(tx: Transaction, names: Sequence[str], found_at: int) -> None:
    """Remember files without a row. One that is known already keeps the time it was first found."""
    for name in names:
        tx.run(
            "INSERT INTO stray_file (name, found_at) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
            (name, found_at),
        )


def forget_stray(tx: Transaction, name: str) -> None:
    """It is one no more: it has a row, or was put aside, or is gone."""
    tx.run("DELETE FROM stray_file WHERE name = ?", (name,))


async def list_strays(db: Database, after: str, limit: int) -> list[tuple[str, int]]:
    """At most `limit` names and when each was first found, bytewise after `after`, in order."""
    rows = await db.all(
        "SELECT name, found_at FROM stray_file WHERE name > ? ORDER BY name LIMIT ?", (after, limit)
    )
    return [(row[0], row[1]) for row in rows]


def pause_garbage(tx: Transaction, holder: str, until: int) -> None:
    """Keep every file where it is until then."""
    tx.run("INSERT INTO garbage_pause (holder, until) VALUES (?, ?)", (holder, until))
    tx.run("DELETE FROM garbage_pause WHERE until < ?", (now_ms(),))


def prolong_pause(tx: Transaction, holder: str, until: int) -> bool:
    """The same until a later time; False when it was over meanwhile, and files may have gone."""
    changed = tx.run(
        "UPDATE garbage_pause SET until = ? WHERE holder = ? AND until > ?", (until, holder, now_ms())
    )
    return bool(changed)


def end_pause(tx: Transaction, holder: str) -> None:
    """Files may go again, as far as this one is concerned."""
    tx.run("DELETE FROM garbage_pause WHERE holder = ?", (holder,))
