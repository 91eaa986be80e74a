"""Who has a job: workers that stop, die, are taken for dead, and clocks that jump."""

import asyncio
from datetime import timedelta

import pytest

from moorage.databases.sqlite import SqliteDatabase
from moorage.records.audit.rows import Actor
from moorage.records.jobs import rows
from moorage.records.jobs.alive import has_worker
from moorage.records.jobs.managing import cancel
from moorage.records.jobs.running import LeaseLost, Running
from tests.records.conftest import Clock
from tests.records.shop import Endless, Shop, done_at_once

pytestmark = pytest.mark.anyio

LEASE_S = 0.5
LONG_LEASE_S = 2.0
"""Of one that is to keep it: a busy disk lets it wait."""
YEARS = timedelta(days=3652)


async def test_job_of_a_worker_that_stops_is_queued_again_and_that_was_no_attempt(shop: Shop) -> None:
    endless = Endless()
    job_id = await shop.ask()
    async with shop.open(shop.worker({"errand": endless})):
        await endless.has_started.wait()

    job = await shop.job(job_id)
    assert (job.state, job.attempts, job.holder, job.error) == ("queued", 0, None, None)
    assert isinstance(endless.ended_by, asyncio.CancelledError)


async def test_job_that_was_to_be_cancelled_when_its_worker_stops_is_cancelled(
    shop: Shop, db: SqliteDatabase
) -> None:
    started = asyncio.Event()

    async def silent(_: Running) -> None:
        started.set()
        await asyncio.Event().wait()

    job_id = await shop.ask()
    async with shop.open(shop.worker({"errand": silent})):
        await started.wait()
        await cancel(db, job_id, Actor("ada"))

    assert (await shop.job(job_id)).state == "cancelled"


async def test_worker_that_is_alone_takes_over_at_once(shop: Shop) -> None:
    job_id = await shop.ask()
    await shop.take()

    async with shop.open(shop.worker({"errand": done_at_once})):
        job = await shop.until(job_id, seconds=10)

    assert job.attempts == 2


async def test_worker_that_is_not_alone_waits_for_the_lease(shop: Shop) -> None:
    job_id = await shop.ask()
    await shop.take()
    loop = asyncio.get_running_loop()

    async with shop.another_alive():
        began = loop.time()
        async with shop.open(shop.worker({"errand": done_at_once}, lease_s=LEASE_S)):
            job = await shop.until(job_id)

    assert job.attempts == 2
    assert loop.time() - began >= LEASE_S


@pytest.mark.parametrize("jump", [YEARS, -YEARS, timedelta(days=1), -timedelta(days=1)])
async def test_f40_a_clock_that_jumps_makes_no_worker_dead(shop: Shop, clock: Clock, jump: timedelta) -> None:
    endless = Endless()
    job_id = await shop.ask()
    first = shop.worker({"errand": endless}, lease_s=LONG_LEASE_S)
    second = shop.worker({"errand": done_at_once}, lease_s=LONG_LEASE_S)
    async with shop.open(first):
        await endless.has_started.wait()
        async with shop.open(second):
            clock.move(jump)
            await asyncio.sleep(LONG_LEASE_S * 2)

            job = await shop.job(job_id)

    assert (job.state, job.attempts) == ("running", 1)
    assert endless.attempts == [1]


@pytest.mark.parametrize("jump", [YEARS, -YEARS])
async def test_f40_a_clock_that_jumps_keeps_no_dead_worker_alive(
    shop: Shop, clock: Clock, jump: timedelta
) -> None:
    job_id = await shop.ask()
    await shop.take()
    clock.move(jump)

    async with shop.another_alive(), shop.open(shop.worker({"errand": done_at_once}, lease_s=LEASE_S)):
        job = await shop.until(job_id)

    assert job.attempts == 2


async def test_f40_job_that_waits_does_not_wait_for_years_when_the_clock_is_set_back(
    shop: Shop, clock: Clock
) -> None:
    clock.move(YEARS)
    job_id = await shop.ask(not_before=clock.now_ns // 10**6 + 60_000)
    clock.move(-YEARS)

    async with shop.open(shop.worker({"errand": done_at_once})):
        await shop.until(job_id)


async def test_worker_that_was_taken_for_dead_can_neither_report_nor_end_its_job(
    shop: Shop, db: SqliteDatabase
) -> None:
    """As one that was stopped for longer than a lease, and then goes on."""
    job_id = await shop.ask()
    job = await shop.take(holder="zombie")
    zombie = Running(db, job, "zombie", 15_000)
    endless = Endless()

    async with shop.another_alive(), shop.open(shop.worker({"errand": endless}, lease_s=LEASE_S)):
        await endless.has_started.wait()
        with pytest.raises(LeaseLost):
            await zombie.say(1, 2, "blobs")
        assert not await db.write(lambda tx: rows.end(tx, job_id, "zombie", "done"))
        assert not await db.write(lambda tx: rows.put_back(tx, job_id, "zombie"))
        job = await shop.job(job_id)

    assert (job.state, job.attempts) == ("running", 2)
    assert job.progress is None or job.progress.unit == "turns"


async def test_handler_whose_job_was_taken_is_stopped_even_if_it_says_nothing(shop: Shop) -> None:
    stopped = asyncio.Event()
    started = asyncio.Event()

    async def silent(_: Running) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    job_id = await shop.ask()
    async with shop.open(shop.worker({"errand": silent}, lease_s=LEASE_S)):
        await started.wait()
        row = next(iter(await rows.list_running(shop.db)))
        await shop.db.write(lambda tx: rows.take_from_the_dead(tx, *row))
        other = await shop.take(holder="another")
        async with asyncio.timeout(LEASE_S * 2):
            await stopped.wait()
        await asyncio.sleep(0.05)
        job = await shop.job(job_id)

    assert (job.id, job.state, job.holder) == (other.id, "running", "another")


async def test_job_that_kills_every_worker_fails_in_the_end(shop: Shop, db: SqliteDatabase) -> None:
    job_id = await shop.ask()
    for _ in range(rows.ATTEMPTS_MAX):
        job = await shop.take()
        assert job.id == job_id
        (row,) = await rows.list_running(db)
        await db.write(lambda tx: rows.take_from_the_dead(tx, *row))  # noqa: B023

    job = await shop.job(job_id)
    assert (job.state, job.error) == ("failed", "its worker died")


async def test_job_to_be_cancelled_whose_worker_died_is_cancelled(shop: Shop, db: SqliteDatabase) -> None:
    job_id = await shop.ask()
    await shop.take()
    await cancel(db, job_id, Actor("ada"))

    async with shop.open(shop.worker({"errand": done_at_once})):
        await shop.until(job_id, "cancelled")


async def test_it_can_be_seen_whether_a_worker_is_alive(shop: Shop) -> None:
    assert not has_worker(shop.folder)
    job_id = await shop.ask()
    async with shop.open(shop.worker({"errand": done_at_once})):
        await shop.until(job_id)
        assert has_worker(shop.folder)
    assert not has_worker(shop.folder)


async def test_one_job_can_be_run_without_a_worker(shop: Shop) -> None:
    other = await shop.ask(key="other")
    job_id = await shop.ask()

    await shop.worker({"errand": done_at_once}).run_one(job_id)

    assert (await shop.job(job_id)).state == "done"
    assert (await shop.job(other)).state == "queued"
