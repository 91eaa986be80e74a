"""A job: asked for once, done, tried again, cancelled, forgotten."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from moorage.config import JobSettings
from moorage.database import Transaction
from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import DatabaseBusy, JobStateInvalid, JobUnknown, NameUnknown
from moorage.records.audit.rows import Actor, Filter, list_entries
from moorage.records.jobs import rows, running, working
from moorage.records.jobs.managing import cancel, retry
from moorage.records.jobs.rows import Progress
from moorage.records.jobs.running import Cancelled, CannotBeDone, Running
from tests.records.conftest import Clock
from tests.records.shop import WAIT_S, Endless, Shop, done_at_once, eventually

pytestmark = pytest.mark.anyio

ADA = Actor("ada")


async def test_job_is_done_and_its_result_kept(shop: Shop) -> None:
    job_id = await shop.ask(number=7)

    async with shop.open(shop.worker({"errand": done_at_once})):
        job = await shop.until(job_id)

    assert job.result == {"did": {"number": 7}}
    assert (job.attempts, job.holder, job.error, job.created_by) == (1, None, None, "ada")
    assert job.started_at is not None
    assert job.finished_at is not None


async def test_job_of_a_change_that_fails_was_never_asked_for(shop: Shop, db: SqliteDatabase) -> None:
    def work(tx: Transaction) -> None:
        rows.enqueue(tx, "errand", {}, "ada")
        raise NameUnknown

    with pytest.raises(NameUnknown):
        await db.write(work)

    assert await rows.list_jobs(db, 10) == []


async def test_of_a_key_one_is_under_way_at_a_time(shop: Shop) -> None:
    first = await shop.ask(key="team/app")
    assert await shop.ask(key="team/app") == first
    other = await shop.ask(key="team/other")
    await shop.take()
    assert await shop.ask(key="team/app") == first

    async with shop.open(shop.worker({"errand": done_at_once})):
        await shop.until(other)
        await shop.until(first)

    assert await shop.ask(key="team/app") not in {first, other}


@pytest.mark.parametrize("turns", range(5))
async def test_worker_that_is_told_to_stop_just_as_a_job_ends_stops(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """So many turns of the loop after it."""
    worker = shop.worker({"errand": done_at_once})
    note_end = worker._note_end

    def stop_after(left: int) -> None:
        if left:
            asyncio.get_running_loop().call_soon(stop_after, left - 1)
        else:
            at_work.cancel()

    def note_end_and_stop(kind: str, task: object) -> None:
        note_end(kind, task)
        stop_after(turns)

    monkeypatch.setattr(worker, "_note_end", note_end_and_stop)
    await shop.ask()
    at_work = asyncio.create_task(worker.run())

    ended, _ = await asyncio.wait({at_work}, timeout=WAIT_S)

    at_work.cancel()
    assert ended == {at_work}


async def test_job_of_a_kind_that_no_one_handles_is_left_alone(shop: Shop) -> None:
    strange = await shop.ask("strange")
    usual = await shop.ask("errand")

    async with shop.open(shop.worker({"errand": done_at_once})):
        await shop.until(usual)

    assert (await shop.job(strange)).state == "queued"


async def test_a_long_job_holds_up_no_other_kind_but_its_own(shop: Shop) -> None:
    endless = Endless()
    long = await shop.ask("long", key="one")
    after = await shop.ask("long", key="two")
    errands = [await shop.ask(key=str(number)) for number in range(5)]

    async with shop.open(shop.worker({"long": endless, "errand": done_at_once})):
        for each in errands:
            await shop.until(each)
        assert (await shop.job(long)).state == "running"
        assert (await shop.job(after)).state == "queued"


async def test_job_asked_for_later_waits(shop: Shop, clock: Clock) -> None:
    later = await shop.ask(not_before=clock.now_ns // 10**6 + 60_000)
    now = await shop.ask(key="now")

    async with shop.open(shop.worker({"errand": done_at_once})):
        await shop.until(now)
        assert (await shop.job(later)).state == "queued"
        clock.move(timedelta(minutes=1))
        await shop.until(later)


async def test_job_that_fails_is_tried_again_later_and_later(
    shop: Shop, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "POLL_S", 0.01)
    waits: list[int] = []
    times: list[int] = []

    async def busy(_: Running) -> None:
        times.append(clock.now_ns // 10**9)
        raise DatabaseBusy

    job_id = await shop.ask()
    async with shop.open(shop.worker({"errand": busy})):
        for attempt in range(1, rows.ATTEMPTS_MAX):
            job = await shop.until_so(job_id, lambda job: job.state == "queued" and job.attempts == attempt)  # noqa: B023
            waits.append((job.not_before - clock.now_ns // 10**6) // 1000)
            assert job.error == str(DatabaseBusy())
            clock.move(timedelta(seconds=waits[-1]) - timedelta(milliseconds=50))
            await asyncio.sleep(0.05)
            assert len(times) == attempt
            clock.move(timedelta(milliseconds=50))
        job = await shop.until(job_id, "failed")

    assert waits == [10, 40, 160, 640]
    assert job.attempts == rows.ATTEMPTS_MAX == len(times)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CannotBeDone("there is no such folder"), "there is no such folder"),
        (NameUnknown(name="team/app"), str(NameUnknown(name="team/app"))),
    ],
)
async def test_job_that_no_second_try_would_mend_fails_at_once(
    shop: Shop, error: Exception, said: str
) -> None:
    async def fail(_: Running) -> None:
        raise error

    job_id = await shop.ask()
    async with shop.open(shop.worker({"errand": fail})):
        job = await shop.until(job_id, "failed")

    assert (job.error, job.attempts) == (said, 1)


@pytest.mark.parametrize("error", [ValueError("secret"), asyncio.CancelledError("its own")])
async def test_mistake_of_a_handler_is_told_in_the_log_only(
    shop: Shop, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(_: Running) -> None:
        raise error

    job_id = await shop.ask()
    async with shop.open(shop.worker({"errand": broken})):
        job = await shop.until_so(job_id, lambda job: job.error is not None)

    assert job.state == "queued"
    assert job.error is not None
    assert job.error.startswith("a mistake in Moorage")
    assert "job_broke" in capsys.readouterr().out


async def test_progress_is_readable_while_it_runs_and_written_once_a_second_at_most(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    renew = Running.renew

    async def counted(self: Running) -> None:
        nonlocal written
        written += 1
        await renew(self)

    monkeypatch.setattr(Running, "renew", counted)
    go_on = asyncio.Event()

    async def talk(job: Running) -> None:
        for number in range(1000):
            await job.say(number, 1000, "blobs", "half of it")
        monkeypatch.setattr(running, "SAY_EVERY_S", 0.0)
        await job.say(1000, 1000, "blobs")
        await go_on.wait()

    job_id = await shop.ask()
    async with shop.open(shop.worker({"errand": talk})):
        job = await shop.until_so(job_id, lambda job: job.progress == Progress(1000, 1000, "blobs"))
        assert job.state == "running"
        go_on.set()
        job = await shop.until(job_id)

    assert job.progress == Progress(1000, 1000, "blobs")
    assert written <= 4


async def test_running_job_that_is_cancelled_stops_where_it_next_speaks(
    shop: Shop, db: SqliteDatabase
) -> None:
    endless = Endless()
    job_id = await shop.ask()
    async with shop.open(shop.worker({"errand": endless})):
        await endless.has_started.wait()
        job = await cancel(db, job_id, ADA)
        assert (job.state, job.is_cancelling) == ("running", True)
        job = await shop.until(job_id, "cancelled", seconds=10)

    assert isinstance(endless.ended_by, Cancelled)
    assert (job.attempts, job.error) == (1, None)


async def test_waiting_job_that_is_cancelled_ends_at_once(shop: Shop, db: SqliteDatabase) -> None:
    job_id = await shop.ask()

    job = await cancel(db, job_id, ADA)

    assert job.state == "cancelled"
    with pytest.raises(JobStateInvalid):
        await cancel(db, job_id, ADA)
    with pytest.raises(JobUnknown):
        await cancel(db, job_id + 1, ADA)
    (entry,) = await list_entries(db, Filter(action="job.cancel"), 10)
    assert (entry.actor, entry.target, entry.detail) == ("ada", str(job_id), "errand")


async def test_job_that_failed_can_be_tried_again_unless_another_does_the_same(
    shop: Shop, db: SqliteDatabase
) -> None:
    async def fail(_: Running) -> Mapping[str, Any]:
        raise CannotBeDone("no")

    job_id = await shop.ask()
    async with shop.open(shop.worker({"errand": fail})):
        await shop.until(job_id, "failed")
    other = await shop.ask()
    with pytest.raises(JobStateInvalid, match=f"job {other}"):
        await retry(db, job_id, ADA)
    await cancel(db, other, ADA)

    job = await retry(db, job_id, ADA)

    assert (job.state, job.attempts, job.error, job.finished_at) == ("queued", 0, None, None)
    async with shop.open(shop.worker({"errand": done_at_once})):
        await shop.until(job_id)
    with pytest.raises(JobStateInvalid):
        await retry(db, job_id, ADA)


async def test_only_so_many_of_a_kind_are_remembered_and_only_for_so_long(
    shop: Shop, db: SqliteDatabase, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "_FORGET_EVERY_S", 0.0)

    def left(number: int) -> Callable[[], Awaitable[bool]]:
        async def are() -> bool:
            return len(await rows.list_jobs(db, 100)) == number

        return are

    settings = replace(JobSettings(), history=3, history_age=timedelta(days=30))
    rare = await shop.ask("rare")
    waits = await shop.ask(key="waits", not_before=clock.now_ns // 10**6 + 10**12)
    worker = shop.worker({"errand": done_at_once, "rare": done_at_once}, settings=settings)
    async with shop.open(worker):
        ended = [await shop.ask(key=str(number)) for number in range(8)]
        await shop.until(ended[-1])
        await eventually(left(5))
        assert [job.id for job in await rows.list_jobs(db, 100)] == [*ended[:-4:-1], waits, rare]

        clock.move(timedelta(days=31))
        await eventually(left(1))

    assert (await shop.job(waits)).state == "queued"
