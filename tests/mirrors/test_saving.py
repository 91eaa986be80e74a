"""Savings are counted without waiting, written by days of UTC, and summed without falling."""

from datetime import UTC, datetime, timedelta

import pytest

from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import DatabaseBusy
from moorage.mirrors import saving_rows
from moorage.mirrors.saving import KEPT, NO_UPSTREAM, TOTAL, Counted, Savings, today
from moorage.mirrors.saving_rows import Saving
from moorage.mirrors.status import read_counted, read_savings
from tests.registry.conftest import Clock

pytestmark = pytest.mark.anyio

HUB, LAN = "docker.io", "lan"
EVER = ("0", "9")


async def test_what_was_counted_is_written_once(db: SqliteDatabase) -> None:
    savings = Savings(db)
    savings.count(HUB, "hits")
    savings.count(HUB, "hits", 2)
    savings.count(LAN, "fetched_bytes", 10)

    await savings.write()
    await savings.write()

    day = today().isoformat()
    assert await saving_rows.read_days(db, *EVER) == [
        Saving(day, HUB, "hits", 3),
        Saving(day, LAN, "fetched_bytes", 10),
    ]


async def test_what_two_processes_count_adds_up(db: SqliteDatabase) -> None:
    for savings in (Savings(db), Savings(db)):
        savings.count(HUB, "served_bytes", 2**40)
        await savings.write()

    assert (await read_counted(db, *EVER))[HUB].served_bytes == 2**41


async def test_day_is_that_of_the_counting_not_of_the_writing(db: SqliteDatabase, clock: Clock) -> None:
    savings = Savings(db)
    savings.count(HUB, "hits")
    first = today()
    clock.move(timedelta(days=1))
    savings.count(HUB, "hits", 5)

    await savings.write()

    found = await read_savings(db, *EVER)
    assert {day: counted.hits for day, counted in found.days.items()} == {
        first.isoformat(): 1,
        (first + timedelta(days=1)).isoformat(): 5,
    }


async def test_day_ends_at_midnight_of_utc(db: SqliteDatabase, clock: Clock) -> None:
    clock.now_ns = int(datetime(2026, 11, 27, 23, 59, 59, tzinfo=UTC).timestamp()) * 10**9

    assert today().isoformat() == "2026-11-27"
    clock.move(timedelta(seconds=1))
    assert today().isoformat() == "2026-11-28"


async def test_old_days_are_forgotten_but_the_sum_is_not(db: SqliteDatabase, clock: Clock) -> None:
    savings = Savings(db)
    savings.count(HUB, "hits", 7)
    await savings.write()
    clock.move(KEPT + timedelta(days=1))
    savings.count(HUB, "hits", 1)

    await savings.write()

    assert [each.amount for each in await saving_rows.read_days(db, *EVER)] == [1]
    assert (await read_counted(db, TOTAL, TOTAL))[HUB].hits == 8


class Busy:
    """A database that is busy, once."""

    def __init__(self, db: SqliteDatabase) -> None:
        self._db = db
        self.is_busy = True
        self.one, self.all, self.scan = db.one, db.all, db.scan

    async def write(self, work: object) -> object:
        if self.is_busy:
            self.is_busy = False
            raise DatabaseBusy
        return await self._db.write(work)  # type: ignore[arg-type] # as it came


async def test_what_could_not_be_written_is_written_later(db: SqliteDatabase) -> None:
    savings = Savings(Busy(db))  # type: ignore[arg-type] # as far as it is asked
    savings.count(HUB, "hits", 2)
    await savings.write()
    savings.count(HUB, "hits", 1)

    await savings.write()

    assert (await read_counted(db, *EVER))[HUB].hits == 3


async def test_savings_are_told_by_day_by_upstream_and_together(db: SqliteDatabase, clock: Clock) -> None:
    savings = Savings(db)
    savings.count(HUB, "served_bytes", 100)
    savings.count(HUB, "fetched_bytes", 10)
    savings.count(NO_UPSTREAM, "push_skipped_bytes", 5)
    first = today().isoformat()
    clock.move(timedelta(days=1))
    savings.count(LAN, "served_bytes", 1)
    savings.count(LAN, "fetched_bytes", 4)
    await savings.write()

    found = await read_savings(db, first, today().isoformat())

    assert found.total == Counted(fetched_bytes=14, served_bytes=101, push_skipped_bytes=5)
    assert [each.saved_bytes for each in found.days.values()] == [90, 0]
    assert {name: each.saved_bytes for name, each in found.upstreams.items()} == {HUB: 90, LAN: 0, "": 0}


def test_hit_rate_is_of_what_was_asked_for() -> None:
    assert Counted(hits=3, misses=1, stale=2).hit_rate == 0.75
    assert Counted().hit_rate is None


def test_kind_of_another_version_is_left_out() -> None:
    assert Counted.of({"hits": 1, "teleported": 5}) == Counted(hits=1)
