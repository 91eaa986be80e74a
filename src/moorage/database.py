"""The port to the rows: what a noun's `rows.py` may ask of a database.

Reads go straight to a snapshot and see every transaction that was committed before. Writes are
functions of one `Transaction`; all that one function does is kept, durably, or nothing of it is.
`databases/` implements this; the SQL stands beside the noun and is what both dialects take.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = tuple[Any, ...]


class Transaction(Protocol):
    """Inside a write: sees its own changes, and no one else writes until it ends."""

    def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        """The first row, or None."""
        ...

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Every row."""
        ...

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        """Change rows; how many were."""
        ...


class Database(Protocol):
    """Four verbs. A read never waits for a write."""

    async def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        """The first row, or None."""
        ...

    async def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Every row."""
        ...

    async def scan(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Every row, of a read that may take long: others go on meanwhile."""
        ...

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction; return its value once that is durable.

        `work` runs in another thread and may run again from its start, so it has no effect but its
        rows. What it raises is raised here, with nothing of it kept.

        Raises DatabaseBusy, DatabaseFull (503), StorageReadOnly (503) and StorageFailed (500).
        """
        ...
