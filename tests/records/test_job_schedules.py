"""Schedules, with a clock that is moved."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from moorage.database import Database
from moorage.databases.sqlite import SqliteDatabase
from moorage.records.jobs import rows
from moorage.records.jobs.scheduling import Scheduled, Schedules
from moorage.schedule import read_schedule
from tests.records.conftest import Clock
from tests.records.shop import Shop, done_at_once, eventually

pytestmark = pytest.mark.anyio

HOURLY = Scheduled(read_schedule("every 1h"))


def at(clock: Clock, text: str) -> None:
    clock.now_ns = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


async def asked(db: SqliteDatabase) -> int:
    """How many jobs were asked for so far; each is done before the next is."""
    jobs = await rows.list_jobs(db, 1000)
    for job in jobs:
        if not job.has_ended:
            taken = await db.write(lambda tx: rows.take(tx, [job.kind], "test", 1000))  # noqa: B023
            assert taken is not None
            await db.write(lambda tx: rows.end(tx, taken.id, "test", "done"))  # noqa: B023
    return len(jobs)


async def test_interval_begins_when_it_is_first_seen_and_goes_on_over_restarts(
    db: SqliteDatabase, clock: Clock
) -> None:
    await Schedules(db, {"errand": HOURLY}).ask()
    assert await asked(db) == 0

    clock.move(timedelta(minutes=59))
    await Schedules(db, {"errand": HOURLY}).ask()
    assert await asked(db) == 0

    clock.move(timedelta(minutes=1))
    again = Schedules(db, {"errand": HOURLY})
    await again.ask()
    await again.ask()
    assert await asked(db) == 1
    (job,) = await rows.list_jobs(db, 10)
    assert (job.kind, job.created_by) == ("errand", "schedule")


async def test_what_was_missed_is_made_up_for_once(db: SqliteDatabase, clock: Clock) -> None:
    schedules = Schedules(db, {"errand": HOURLY})
    await schedules.ask()
    clock.move(timedelta(days=3))

    for _ in range(3):
        await schedules.ask()
        await asked(db)

    assert await asked(db) == 1


async def test_cron_is_in_utc_and_to_the_minute(db: SqliteDatabase, clock: Clock) -> None:
    at(clock, "2026-03-01T10:00:00")
    schedules = Schedules(db, {"errand": Scheduled(read_schedule("30 3 * * MON"))})
    await schedules.ask()

    at(clock, "2026-03-02T03:29:59")
    await schedules.ask()
    assert await asked(db) == 0
    at(clock, "2026-03-02T03:30:00")
    await schedules.ask()
    assert await asked(db) == 1
    at(clock, "2026-03-09T03:29:00")
    await schedules.ask()
    assert await asked(db) == 1


async def test_two_workers_ask_once(db: SqliteDatabase, clock: Clock) -> None:
    both = [Schedules(db, {"errand": HOURLY}) for _ in range(2)]
    await asyncio.gather(*(each.ask() for each in both))

    for hours in range(1, 4):
        clock.move(timedelta(hours=1))
        await asyncio.gather(*(each.ask() for each in both))
        assert await asked(db) == hours


async def test_worker_that_was_slow_to_look_does_not_ask_for_what_is_done_by_now(
    db: SqliteDatabase, clock: Clock
) -> None:
    other = Schedules(db, {"errand": HOURLY})
    await other.ask()
    clock.move(timedelta(hours=1))

    async def look_slowly(_: Database) -> bool:
        await other.ask()
        assert await asked(db) == 1
        return True

    await Schedules(db, {"errand": Scheduled(HOURLY.schedule, look_slowly)}).ask()

    assert await asked(db) == 1


@pytest.mark.parametrize("schedule", ["every 1h", "0 * * * *"])
async def test_nothing_is_asked_for_when_there_is_nothing_to_do(
    db: SqliteDatabase, clock: Clock, schedule: str
) -> None:
    questions = 0
    is_something = False

    async def is_due(_: Database) -> bool:
        nonlocal questions
        questions += 1
        return is_something

    schedules = Schedules(db, {"errand": Scheduled(read_schedule(schedule), is_due)})
    await schedules.ask()
    for _ in range(3):
        clock.move(timedelta(hours=1))
        for _ in range(5):
            await schedules.ask()
    assert (await asked(db), questions) == (0, 3)

    is_something = True
    clock.move(timedelta(hours=1))
    await schedules.ask()

    assert await asked(db) == 1


async def test_f40_clock_set_back_by_years_begins_the_interval_anew(db: SqliteDatabase, clock: Clock) -> None:
    schedules = Schedules(db, {"errand": HOURLY})
    await schedules.ask()
    clock.move(timedelta(days=3652))
    await schedules.ask()
    assert await asked(db) == 1

    clock.move(-timedelta(days=3652))
    await schedules.ask()
    clock.move(timedelta(minutes=59))
    await schedules.ask()
    assert await asked(db) == 1
    clock.move(timedelta(minutes=1))
    await schedules.ask()
    assert await asked(db) == 2


async def test_off_is_never(db: SqliteDatabase, clock: Clock) -> None:
    schedules = Schedules(db, {"errand": Scheduled(read_schedule("off"))})
    await schedules.ask()
    clock.move(timedelta(days=3652))
    await schedules.ask()

    assert await asked(db) == 0


async def test_worker_does_what_its_schedules_ask_for(shop: Shop) -> None:
    second = Scheduled(read_schedule("every 1s"))

    async def twice() -> bool:
        return await rows.count(shop.db) == [("errand", "done", 2)]

    async with shop.open(shop.worker({"errand": done_at_once}, {"errand": second})):
        await eventually(twice)
