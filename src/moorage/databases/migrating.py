"""Bringing a database to the schema of this program, or saying why not.

Each migration is numbered and remembered with its checksum; all that are due run in one transaction,
so a crash leaves the old schema or the new one. A database that a newer program has changed is
refused untouched.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

import apsw

_FILE_NAME = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql", re.ASCII)


class SchemaRefused(Exception):
    """The database cannot be used by this program; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """sha256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All that this program knows, in order."""
    found = [
        Migration(int(match[1]), entry.name, entry.read_text("utf-8"))
        for entry in resources.files("moorage.databases.migrations").iterdir()
        if (match := _FILE_NAME.fullmatch(entry.name))
    ]
    return sorted(found, key=lambda migration: migration.number)


def migrate(connection: apsw.Connection, known: list[Migration]) -> list[Migration]:
    """Apply what is due; which that was.

    Raises SchemaRefused for a newer or edited schema.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migration"
            " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)"
        )
        due = find_due(connection, known)
        for migration in due:
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO migration (number, name, checksum) VALUES (?, ?, ?)",
                (migration.number, migration.name, migration.checksum),
            )
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return due


def find_due(connection: apsw.Connection, known: list[Migration]) -> list[Migration]:
    """What would have to be applied, in order.

    Raises SchemaRefused for a newer or edited schema.
    """
    applied = {row[0]: row[1:] for row in connection.execute("SELECT number, name, checksum FROM migration")}
    _check(applied, known)
    return [migration for migration in known if migration.number not in applied]


def _check(applied: dict[int, tuple[str, str]], known: list[Migration]) -> None:
    by_number = {migration.number: migration for migration in known}
    for number, (name, checksum) in sorted(applied.items()):
        if number not in by_number:
            raise SchemaRefused(
                f"this database was written by a newer Moorage (it has {name});"
                " start that version again, or restore a backup made with this one. Nothing was changed."
            )
        if by_number[number].checksum != checksum:
            raise SchemaRefused(
                f"this database was made with another {name} than this program has;"
                " install the version that made it. Nothing was changed."
            )
