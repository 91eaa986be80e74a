"""The database port on SQLite: what is committed together, what is kept apart, who waits for whom."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from moorage.database import Transaction
from moorage.databases import sqlite
from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import DatabaseBusy, NameUnknown, StorageReadOnly, Unavailable
from moorage.health import Health

pytestmark = pytest.mark.anyio

PATIENCE_S = 5.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "moorage.db"
    sqlite.prepare(path)
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE mark (name TEXT NOT NULL UNIQUE)")
    connection.close()
    return path


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def db(path: Path, health: Health) -> Iterator[SqliteDatabase]:
    db = SqliteDatabase(path, health)
    yield db
    db.close()


@pytest.fixture
def outside(path: Path) -> Iterator[apsw.Connection]:
    """Another process's connection."""
    connection = apsw.Connection(str(path))
    yield connection
    connection.close()


def mark(tx: Transaction, name: str) -> None:
    tx.run("INSERT INTO mark (name) VALUES (?)", (name,))


async def marks(db: SqliteDatabase) -> list[str]:
    return [str(row[0]) for row in await db.all("SELECT name FROM mark ORDER BY name")]


def seen(connection: apsw.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM mark").fetchone()
    assert row is not None
    return int(row[0])


async def test_read_sees_what_was_written_before(db: SqliteDatabase) -> None:
    for number in range(20):
        await db.write(lambda tx, number=number: mark(tx, f"{number:02}"))  # type: ignore[misc]
        assert len(await marks(db)) == number + 1


async def test_other_process_sees_what_was_written_before(
    db: SqliteDatabase, outside: apsw.Connection
) -> None:
    await db.write(lambda tx: mark(tx, "a"))

    assert seen(outside) == 1


async def test_write_returns_what_its_work_returns(db: SqliteDatabase) -> None:
    assert await db.write(lambda tx: tx.run("INSERT INTO mark (name) VALUES ('a'), ('b')")) == 2


async def test_write_sees_its_own_changes(db: SqliteDatabase) -> None:
    def work(tx: Transaction) -> object:
        mark(tx, "a")
        return tx.one("SELECT name FROM mark")

    assert await db.write(work) == ("a",)


async def test_first_row_of_none_is_none(db: SqliteDatabase) -> None:
    assert await db.one("SELECT name FROM mark") is None
    assert await db.all("SELECT name FROM mark") == []


class Batch:
    """Writes that wait behind a first one until they are let go, and so go together."""

    def __init__(self, db: SqliteDatabase) -> None:
        self._db = db
        self._gate = threading.Event()
        self.tasks: list[asyncio.Task[object]] = []

    async def hold(self) -> None:
        entered = asyncio.Event()
        loop = asyncio.get_running_loop()

        def work(_: Transaction) -> None:
            loop.call_soon_threadsafe(entered.set)
            assert self._gate.wait(PATIENCE_S)

        self.tasks.append(asyncio.create_task(self._db.write(work)))
        await entered.wait()

    async def add(self, work: object) -> None:
        assert callable(work)
        self.tasks.append(asyncio.create_task(self._db.write(work)))
        await asyncio.sleep(0)

    async def go(self) -> list[object]:
        """Each one's value or refusal, the first one's left out."""
        self._gate.set()
        results = await asyncio.gather(*self.tasks, return_exceptions=True)
        return list(results[1:])


async def test_writes_that_wait_are_committed_together(db: SqliteDatabase, outside: apsw.Connection) -> None:
    """So that they share one fsync: the last sees the others, and no one else does yet."""
    batch = Batch(db)
    await batch.hold()
    for number in range(10):
        await batch.add(lambda tx, number=number: mark(tx, str(number)))
    await batch.add(lambda tx: (tx.one("SELECT count(*) FROM mark"), seen(outside)))

    assert (await batch.go())[-1] == ((10,), 0)
    assert seen(outside) == 10


async def test_write_that_fails_takes_only_its_own_changes_along(db: SqliteDatabase) -> None:
    def fail(tx: Transaction) -> None:
        mark(tx, "wrong")
        raise NameUnknown(name="wrong")

    batch = Batch(db)
    await batch.hold()
    await batch.add(lambda tx: mark(tx, "before"))
    await batch.add(fail)
    await batch.add(lambda tx: mark(tx, "after"))
    results = await batch.go()

    assert [type(result) for result in results] == [type(None), NameUnknown, type(None)]
    assert await marks(db) == ["after", "before"]


async def test_write_that_breaks_a_constraint_takes_only_its_own_changes_along(db: SqliteDatabase) -> None:
    def collide(tx: Transaction) -> None:
        mark(tx, "wrong")
        mark(tx, "before")

    batch = Batch(db)
    await batch.hold()
    await batch.add(lambda tx: mark(tx, "before"))
    await batch.add(collide)
    await batch.add(lambda tx: mark(tx, "after"))
    results = await batch.go()

    assert isinstance(results[1], apsw.ConstraintError)
    assert await marks(db) == ["after", "before"]


async def test_refusal_is_raised_where_the_write_was_asked_for(db: SqliteDatabase) -> None:
    def fail(tx: Transaction) -> None:
        raise NameUnknown(name="a")

    with pytest.raises(NameUnknown) as refusal:
        await db.write(fail)

    assert refusal.value.detail == {"name": "a"}


async def test_writer_that_gave_up_keeps_no_one_waiting(db: SqliteDatabase) -> None:
    batch = Batch(db)
    await batch.hold()
    await batch.add(lambda tx: mark(tx, "given up"))
    await batch.add(lambda tx: mark(tx, "after"))
    batch.tasks[1].cancel()
    results = await batch.go()

    assert results[1] is None
    assert "after" in await marks(db)


async def test_many_writers_are_all_served(db: SqliteDatabase) -> None:
    await asyncio.gather(*(db.write(lambda tx, n=n: mark(tx, f"{n:03}")) for n in range(300)))  # type: ignore[misc]

    assert len(await marks(db)) == 300


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a tenth of a second for another process, not five."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)


async def test_database_that_another_process_holds_is_busy(
    impatient: None, db: SqliteDatabase, outside: apsw.Connection
) -> None:
    """F21."""
    outside.execute("BEGIN IMMEDIATE")

    with pytest.raises(DatabaseBusy) as refusal:
        await db.write(lambda tx: mark(tx, "a"))

    assert (refusal.value.status, refusal.value.retry_after_s) == (503, 5)
    outside.execute("ROLLBACK")
    assert await marks(db) == []


async def test_database_that_was_busy_is_written_to_once_it_is_free(
    impatient: None, db: SqliteDatabase, outside: apsw.Connection
) -> None:
    """F21."""
    outside.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await db.write(lambda tx: mark(tx, "lost"))
    outside.execute("ROLLBACK")

    await db.write(lambda tx: mark(tx, "kept"))

    assert await marks(db) == ["kept"]


async def test_write_waits_for_another_process_that_is_soon_done(
    db: SqliteDatabase, outside: apsw.Connection
) -> None:
    outside.execute("BEGIN IMMEDIATE")
    write = asyncio.create_task(db.write(lambda tx: mark(tx, "a")))
    await asyncio.sleep(0.05)
    outside.execute("ROLLBACK")

    async with asyncio.timeout(PATIENCE_S):
        await write

    assert await marks(db) == ["a"]


async def test_read_never_waits_for_a_write(db: SqliteDatabase, outside: apsw.Connection) -> None:
    await db.write(lambda tx: mark(tx, "a"))
    outside.execute("BEGIN IMMEDIATE")
    outside.execute("INSERT INTO mark (name) VALUES ('not yet')")
    started = time.monotonic()

    found = await marks(db)

    assert found == ["a"]
    assert time.monotonic() - started < 4
    outside.execute("ROLLBACK")


async def test_failed_disk_turns_writes_away_and_reads_go_on(db: SqliteDatabase, health: Health) -> None:
    """F7."""
    await db.write(lambda tx: mark(tx, "a"))
    health.fail("fsync failed")

    with pytest.raises(StorageReadOnly):
        await db.write(lambda tx: mark(tx, "b"))

    assert await marks(db) == ["a"]


async def test_close_finishes_what_is_waiting(path: Path, health: Health, outside: apsw.Connection) -> None:
    db = SqliteDatabase(path, health)
    writes = [asyncio.create_task(db.write(lambda tx, n=n: mark(tx, str(n)))) for n in range(100)]  # type: ignore[misc]
    await asyncio.sleep(0)

    db.close()

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*writes)
    assert seen(outside) == 100


async def test_write_to_a_table_that_points_nowhere_is_refused(db: SqliteDatabase) -> None:
    """Foreign keys hold on the writer's connection."""
    with pytest.raises(apsw.ConstraintError):
        await db.write(lambda tx: tx.run("INSERT INTO lease (repository, digest, until) VALUES (99, 'x', 0)"))


@pytest.mark.parametrize(
    ("setting", "value"), [("synchronous", 2), ("journal_mode", "wal"), ("mmap_size", 0)]
)
async def test_commit_that_was_answered_survives_a_power_cut(
    db: SqliteDatabase, setting: str, value: object
) -> None:
    """D22: full sync, and no memory map."""
    assert await db.write(lambda tx: tx.one(f"PRAGMA {setting}")) == (value,)


async def test_two_processes_write_to_one_database(path: Path, db: SqliteDatabase, health: Health) -> None:
    other = SqliteDatabase(path, health)

    await asyncio.gather(
        *(db.write(lambda tx, n=n: mark(tx, f"a{n}")) for n in range(50)),  # type: ignore[misc]
        *(other.write(lambda tx, n=n: mark(tx, f"b{n}")) for n in range(50)),  # type: ignore[misc]
    )

    assert len(await marks(db)) == 100
    other.close()
