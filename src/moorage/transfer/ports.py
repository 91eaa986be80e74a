"""What a backup asks of the edges."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from moorage.database import Database


class Snapshot(Database, Protocol):
    """A database that no one writes to any more."""

    def close(self) -> None:
        """Let go of the file."""
        ...


class Snapshots(Protocol):
    """Copies of the database; for threads, but for `open`."""

    def take(self, target: Path, told: Callable[[int, int], None]) -> None:
        """Copy all rows as they are in one moment; `told` hears of pages done and pages in all. Synced.

        Raises SnapshotFailed.
        """
        ...

    def open(self, path: Path) -> Snapshot:
        """Such a copy, to read. Raises SnapshotFailed."""
        ...


class SnapshotFailed(Exception):
    """The database cannot be copied or read; the sentence says why."""
