"""A database is brought to this program's schema whole, or left as it was with a sentence that says why."""

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from moorage.databases import sqlite
from moorage.databases.migrating import Migration, SchemaRefused, migrate, migrations
from moorage.databases.sqlite import DatabaseRefused

FIRST = Migration(1, "0001_first.sql", "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);")
SECOND = Migration(2, "0002_second.sql", "CREATE TABLE b (y INTEGER); INSERT INTO b SELECT x FROM a;")
BROKEN = Migration(2, "0002_broken.sql", "CREATE TABLE b (y INTEGER); INSERT INTO nowhere VALUES (1);")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moorage.db"


@pytest.fixture
def connection(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    yield connection
    connection.close()


def tables(connection: apsw.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return {str(row[0]) for row in rows}


def test_new_database_gets_all_migrations_in_order(connection: apsw.Connection) -> None:
    assert migrate(connection, [FIRST, SECOND]) == [FIRST, SECOND]
    assert connection.execute("SELECT y FROM b").fetchall() == [(1,)]


def test_older_database_gets_what_it_lacks(connection: apsw.Connection) -> None:
    migrate(connection, [FIRST])

    assert migrate(connection, [FIRST, SECOND]) == [SECOND]
    assert connection.execute("SELECT x FROM a").fetchall() == [(1,)]


def test_database_of_this_program_is_left_alone(connection: apsw.Connection) -> None:
    migrate(connection, [FIRST, SECOND])

    assert migrate(connection, [FIRST, SECOND]) == []


def test_each_migration_is_remembered_with_its_checksum(connection: apsw.Connection) -> None:
    migrate(connection, [FIRST])

    assert connection.execute("SELECT number, name, checksum FROM migration").fetchall() == [
        (1, "0001_first.sql", hashlib.sha256(FIRST.sql.encode()).hexdigest())
    ]


def test_migration_that_fails_leaves_the_schema_it_found(connection: apsw.Connection) -> None:
    migrate(connection, [FIRST])

    with pytest.raises(apsw.SQLError):
        migrate(connection, [FIRST, BROKEN])

    assert tables(connection) == {"migration", "a"}
    assert not connection.in_transaction


def test_first_migration_of_two_is_not_kept_when_the_second_fails(connection: apsw.Connection) -> None:
    with pytest.raises(apsw.SQLError):
        migrate(connection, [FIRST, BROKEN])

    assert tables(connection) == set()


def test_newer_database_is_refused(connection: apsw.Connection) -> None:
    migrate(connection, [FIRST, SECOND])

    with pytest.raises(SchemaRefused, match=r"newer Moorage.*0002_second\.sql"):
        migrate(connection, [FIRST])


def test_edited_migration_is_refused(connection: apsw.Connection) -> None:
    migrate(connection, [FIRST])

    with pytest.raises(SchemaRefused, match=r"another 0001_first\.sql"):
        migrate(connection, [Migration(1, FIRST.name, FIRST.sql + " "), SECOND])


@pytest.mark.parametrize(
    "known", [[FIRST], [Migration(1, FIRST.name, "edited"), SECOND]], ids=["newer", "edited"]
)
def test_refused_database_stays_as_it_was(path: Path, known: list[Migration]) -> None:
    """F56."""
    before_connection = apsw.Connection(str(path))
    migrate(before_connection, [FIRST, SECOND])
    before_connection.close()
    before = path.read_bytes()

    connection = apsw.Connection(str(path))
    with pytest.raises(SchemaRefused):
        migrate(connection, known)
    connection.close()

    assert path.read_bytes() == before


def test_migrations_of_this_program_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_prepared_database_has_the_tables_of_the_registry(path: Path) -> None:
    sqlite.prepare(path)

    connection = apsw.Connection(str(path))
    assert {"repository", "blob", "manifest", "tag", "upload", "lease", "tag_event"} <= tables(connection)
    connection.close()


def test_prepared_database_is_prepared_again(path: Path) -> None:
    sqlite.prepare(path)
    before = path.read_bytes()

    sqlite.prepare(path)

    assert path.read_bytes() == before


def as_newer(path: Path) -> bytes:
    """Make a database that a later program has changed; its bytes."""
    sqlite.prepare(path)
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO migration VALUES (9999, '9999_later.sql', 'x')")
    connection.close()
    return path.read_bytes()


def test_newer_registry_is_refused_in_plain_words(path: Path) -> None:
    """F56."""
    as_newer(path)

    with pytest.raises(DatabaseRefused, match=r"newer Moorage.*9999_later\.sql.*Nothing was changed"):
        sqlite.prepare(path)


def test_newer_registry_is_left_untouched(path: Path) -> None:
    """F56."""
    before = as_newer(path)

    with pytest.raises(DatabaseRefused):
        sqlite.prepare(path)

    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"not a database" + content[14:], id="other content"),
        pytest.param(lambda content: content[: len(content) // 2 + 100], id="cut"),
        pytest.param(lambda content: content[:4096] + b"\xff" * (len(content) - 4096), id="overwritten"),
        pytest.param(lambda content: b"\0" * len(content), id="zeros"),
    ],
)
def test_damaged_database_is_refused_in_plain_words(path: Path, damage: object) -> None:
    """F20."""
    assert callable(damage)
    sqlite.prepare(path)
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(DatabaseRefused, match=r"is damaged"):
        sqlite.prepare(path)


def test_damaged_database_is_left_untouched(path: Path) -> None:
    """F20."""
    sqlite.prepare(path)
    damaged = path.read_bytes()[:8192] + b"\xff" * 8192
    path.write_bytes(damaged)

    with pytest.raises(DatabaseRefused):
        sqlite.prepare(path)

    assert path.read_bytes() == damaged


def test_database_that_cannot_be_opened_is_refused_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(DatabaseRefused, match=r"cannot be opened"):
        sqlite.prepare(tmp_path / "absent" / "moorage.db")


KILLED = f"""
import os, signal, sys
import apsw
from moorage.databases.migrating import Migration, migrate

path, moment, when = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = apsw.Connection(path)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
count = 0

def kill(*_):
    global count
    count += 1
    if count == when:
        os.kill(os.getpid(), signal.SIGKILL)
    return True

def commit():
    kill()
    return False

def written(*_):
    kill()
    return 0

if moment == "statement":
    connection.exec_trace = kill
elif moment == "commit":
    connection.set_commit_hook(commit)
else:
    connection.set_wal_hook(written)
first, second = {(FIRST.number, FIRST.name, FIRST.sql)!r}, {(SECOND.number, SECOND.name, SECOND.sql)!r}
migrate(connection, [Migration(*first), Migration(*second)])
"""

NEW, OLDER = 10, 7
"""Statements: BEGIN, the table of migrations, what it holds, three for each migration due, COMMIT."""

MOMENTS = [
    *(pytest.param("new", "statement", number, False) for number in range(1, NEW + 1)),
    *(pytest.param("older", "statement", number, False) for number in range(1, OLDER + 1)),
    *(pytest.param(age, "commit", 1, False) for age in ("new", "older")),
    *(pytest.param(age, "written", 1, True) for age in ("new", "older")),
]


@pytest.mark.parametrize(("age", "moment", "when", "is_done"), MOMENTS)
def test_kill_inside_a_migration_leaves_the_old_schema_or_the_new(
    path: Path, age: str, moment: str, when: int, *, is_done: bool
) -> None:
    """F5."""
    old: set[str] = set()
    if age == "older":
        before = apsw.Connection(str(path))
        migrate(before, [FIRST])
        old = tables(before)
        before.close()

    ended = subprocess.run([sys.executable, "-c", KILLED, str(path), moment, str(when)], check=False)

    connection = apsw.Connection(str(path))
    assert ended.returncode == -signal.SIGKILL
    assert tables(connection) == ({"migration", "a", "b"} if is_done else old)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


def test_migration_that_was_killed_is_made_at_the_next_start(path: Path) -> None:
    """F5."""
    subprocess.run([sys.executable, "-c", KILLED, str(path), "commit", "1"], check=False)

    connection = apsw.Connection(str(path))
    assert migrate(connection, [FIRST, SECOND]) == [FIRST, SECOND]
    assert connection.execute("SELECT y FROM b").fetchall() == [(1,)]
    connection.close()
