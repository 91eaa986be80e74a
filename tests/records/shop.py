"""Jobs in this process: a database, workers on it, and waiting for what becomes of a job."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.config import JobSettings
from moorage.databases.sqlite import SqliteDatabase
from moorage.records.jobs import rows
from moorage.records.jobs.alive import RUNNING, SharedLock
from moorage.records.jobs.rows import Job, State
from moorage.records.jobs.running import Handler, Running
from moorage.records.jobs.scheduling import Scheduled
from moorage.records.jobs.working import JobWorker

WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Shop:
    """A folder in which jobs are asked for and done."""

    db: SqliteDatabase
    folder: Path

    async def ask(
        self, kind: str = "errand", *, key: str | None = None, not_before: int | None = None, **arguments: Any
    ) -> int:
        return await self.db.write(lambda tx: rows.enqueue(tx, kind, arguments, "ada", key, not_before))

    async def job(self, job_id: int) -> Job:
        job = await rows.find(self.db, job_id)
        assert job is not None
        return job

    async def until(self, job_id: int, state: State = "done", seconds: float = WAIT_S) -> Job:
        """The job, once it is in that state."""
        return await self.until_so(job_id, lambda job: job.state == state, seconds)

    async def until_so(self, job_id: int, is_so: Callable[[Job], bool], seconds: float = WAIT_S) -> Job:
        async def so() -> bool:
            return is_so(await self.job(job_id))

        await eventually(so, seconds)
        return await self.job(job_id)

    async def take(self, kind: str = "errand", holder: str = "another worker") -> Job:
        """Begin a job as a worker does that is then never heard of again."""
        job = await self.db.write(lambda tx: rows.take(tx, [kind], holder, 15_000))
        assert job is not None
        return job

    def worker(
        self,
        handlers: Mapping[str, Handler],
        schedules: Mapping[str, Scheduled] | None = None,
        settings: JobSettings | None = None,
        lease_s: float = 15.0,
    ) -> JobWorker:
        return JobWorker(self.db, self.folder, handlers, schedules or {}, settings or JobSettings(), lease_s)

    @asynccontextmanager
    async def open(self, worker: JobWorker) -> AsyncIterator[None]:
        """While it works; then it is told to stop."""
        working = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working

    @asynccontextmanager
    async def another_alive(self) -> AsyncIterator[None]:
        """While some other process runs jobs too, so that not every job of others is a dead one's."""
        with SharedLock(self.folder / RUNNING) as lock:
            await lock.share()
            yield


async def eventually(is_so: Callable[[], Awaitable[bool]], seconds: float = WAIT_S) -> None:
    """Wait until it is."""
    async with asyncio.timeout(seconds):
        while not await is_so():  # noqa: ASYNC110 - rows set no event
            await asyncio.sleep(0.005)


async def done_at_once(running: Running) -> Mapping[str, object]:
    return {"did": running.arguments}


class Endless:
    """Handles a job that goes on until it is stopped, and tells how far it is all the time."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.has_started = asyncio.Event()
        self.ended_by: BaseException | None = None

    async def __call__(self, running: Running) -> None:
        self.attempts.append(running.attempt)
        self.has_started.set()
        done = 0
        try:
            while True:
                done += 1
                await running.say(done, None, "turns")
                await asyncio.sleep(0.01)
        except BaseException as error:
            self.ended_by = error
            raise
