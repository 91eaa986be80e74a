"""Pulls are counted without waiting, written in small transactions, and never twice."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import pytest

from moorage.clock import now_ms
from moorage.database import Row, Transaction
from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import DatabaseBusy
from moorage.oci.digest import SHA256, Digest
from moorage.oci.names import RepositoryName, Tag
from moorage.registry.pulls.counting import COUNTED_MAX, Pulls
from moorage.registry.repositories.rows import ensure_repository
from moorage.registry.tags import rows as tag_rows
from tests.registry.conftest import Clock

pytestmark = pytest.mark.anyio

T = TypeVar("T")
NAME = RepositoryName("team/app")
DIGEST = Digest("sha256:" + "1" * 64)


class Watched:
    """A database that counts what a transaction writes, and is busy when it shall be."""

    def __init__(self, db: SqliteDatabase) -> None:
        self._db = db
        self.runs: list[int] = []
        self.is_busy_after: int | None = None

    async def one(self, sql: str, values: tuple[object, ...] = ()) -> Row | None:
        return await self._db.one(sql, values)

    async def all(self, sql: str, values: tuple[object, ...] = ()) -> list[Row]:
        return await self._db.all(sql, values)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        if self.is_busy_after is not None and len(self.runs) >= self.is_busy_after:
            raise DatabaseBusy
        runs = 0

        class Counting:
            def __init__(self, tx: Transaction) -> None:
                self.one, self.all, self._run = tx.one, tx.all, tx.run

            def run(self, sql: str, values: object = ()) -> int:
                nonlocal runs
                runs += 1
                return self._run(sql, values)  # type: ignore[arg-type] # as they came

        done = await self._db.write(lambda tx: work(Counting(tx)))
        self.runs.append(runs)
        return done


@pytest.fixture
def watched(db: SqliteDatabase) -> Watched:
    return Watched(db)


@pytest.fixture
def pulls(watched: Watched) -> Pulls:
    return Pulls(watched)  # type: ignore[arg-type] # as a database is asked here


async def put_tags(db: SqliteDatabase, *tags: str) -> None:
    def work(tx: Transaction) -> None:
        repository_id = ensure_repository(tx, NAME)
        tx.run(
            """
            INSERT INTO manifest (id, repository, digest, sha512, algorithm, media_type, depth, size,
                annotations, payload, pushed_at, pushed_by)
            VALUES (1, ?, ?, ?, 'sha256', 'x', 0, 0, '', '', 0, '') ON CONFLICT DO NOTHING
            """,
            (repository_id, DIGEST, "sha512:" + "1" * 128),
        )
        for tag in tags:
            tag_rows.move(tx, repository_id, Tag(tag), 1, DIGEST, SHA256, "someone")

    await db.write(work)


async def read(db: SqliteDatabase) -> dict[str, tuple[int, int]]:
    rows = await db.all("SELECT reference, pulls, last_at FROM pull")
    return {row[0]: (row[1], row[2]) for row in rows}


async def test_pulls_are_added_up_with_the_time_of_the_last(
    db: SqliteDatabase, pulls: Pulls, clock: Clock
) -> None:
    await put_tags(db, "1.0")
    pulls.count(NAME, "1.0")
    await pulls.write()
    clock.move(timedelta(seconds=5))
    pulls.count(NAME, "1.0")
    pulls.count(NAME, DIGEST)
    pulls.count(NAME, "1.0")
    await pulls.write()
    await pulls.write()

    assert await read(db) == {"1.0": (3, now_ms()), DIGEST: (1, now_ms())}


async def test_clock_that_was_set_back_makes_no_pull_older(
    db: SqliteDatabase, pulls: Pulls, clock: Clock
) -> None:
    await put_tags(db, "1.0")
    pulls.count(NAME, "1.0")
    await pulls.write()
    last = now_ms()
    clock.move(timedelta(days=-3650))
    pulls.count(NAME, "1.0")
    await pulls.write()

    assert await read(db) == {"1.0": (2, last)}


async def test_nothing_is_written_of_what_is_gone(db: SqliteDatabase, pulls: Pulls) -> None:
    await put_tags(db, "1.0")
    for repository, reference in ((NAME, "2.0"), (NAME, "sha256:" + "2" * 64), ("team/gone", "1.0")):
        pulls.count(RepositoryName(repository), reference)
    await pulls.write()

    assert await read(db) == {}


async def test_transaction_writes_at_most_five_hundred_rows(
    db: SqliteDatabase, watched: Watched, pulls: Pulls
) -> None:
    tags = [f"t{number}" for number in range(1201)]
    await put_tags(db, *tags)
    for tag in tags:
        pulls.count(NAME, tag)
    await pulls.write()

    assert watched.runs == [500, 500, 201]
    assert len(await read(db)) == 1201


async def test_what_could_not_be_written_is_written_later_and_once(
    db: SqliteDatabase, watched: Watched, pulls: Pulls
) -> None:
    tags = [f"t{number}" for number in range(1000)]
    await put_tags(db, *tags)
    for tag in tags:
        pulls.count(NAME, tag)
    watched.is_busy_after = 1
    await pulls.write()
    pulls.count(NAME, "t999")
    watched.is_busy_after = None
    await pulls.write()

    counted = await read(db)
    assert counted["t999"][0] == 2
    assert {count for tag, (count, _) in counted.items() if tag != "t999"} == {1}
    assert len(counted) == 1000


async def test_memory_is_bounded_and_known_tags_are_counted_on(db: SqliteDatabase, pulls: Pulls) -> None:
    await put_tags(db, "first", "late")
    pulls.count(NAME, "first")
    for number in range(COUNTED_MAX):
        pulls.count(NAME, f"x{number}")
    pulls.count(NAME, "late")
    pulls.count(NAME, "first")
    await pulls.write()

    assert {tag: count for tag, (count, _) in (await read(db)).items()} == {"first": 2}
