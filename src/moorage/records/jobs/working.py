"""The worker: takes jobs that are due, runs them, and takes over those of workers that died."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from moorage.clock import now_ms
from moorage.config import JobSettings
from moorage.database import Database
from moorage.errors import RegistryError
from moorage.records.jobs import rows
from moorage.records.jobs.alive import RUNNING, WORKER, SharedLock
from moorage.records.jobs.attempt import Attempt
from moorage.records.jobs.running import Handler, Running
from moorage.records.jobs.scheduling import Scheduled, Schedules

LEASE_S: Final = 15.0
POLL_S: Final = 0.5
_FORGET_EVERY_S = 60.0
_FORGET_BATCH = 500
_TROUBLED_S = 10.0

log = structlog.get_logger()


class JobWorker:
    """One worker. At any time it runs one job of each kind at most."""

    def __init__(
        self,
        db: Database,
        folder: Path,
        handlers: Mapping[str, Handler],
        schedules: Mapping[str, Scheduled],
        settings: JobSettings,
        lease_s: float = LEASE_S,
    ) -> None:
        """`folder`: where the locks are. Jobs of kinds without a handler are left alone."""
        self._db = db
        self._folder = folder
        self._handlers = handlers
        self._schedules = Schedules(db, schedules)
        self._settings = settings
        self._lease_s = lease_s
        self._lease_ms = int(lease_s * 1000)
        self._holder = secrets.token_hex(8)
        self._under_way: dict[str, tuple[int, asyncio.Task[None]]] = {}
        # each job of others as it was when it was last renewed, and since when it is that
        self._seen: dict[tuple[int, str, int], float] = {}
        self._something_ended = asyncio.Event()
        self._forget_at = 0.0

    async def run(self) -> None:
        """Until cancelled; what is then under way is queued again, for another worker."""
        with ExitStack() as stack:
            await stack.enter_context(SharedLock(self._folder / WORKER)).share()
            await self._work(self._turn)

    async def run_one(self, job_id: int) -> None:
        """This job alone, until it has ended."""

        async def turn() -> bool:
            await self._bury()
            await self._begin(job_id)
            job = await rows.find(self._db, job_id)
            return job is not None and not job.has_ended

        await self._work(turn)

    async def _work(self, turn: Callable[[], Awaitable[bool]]) -> None:
        """One turn after another, for as long as they say so."""
        with SharedLock(self._folder / RUNNING) as lock:
            try:
                if lock.is_alone():
                    await self._tried(lambda: self._bury(is_alone=True))
                await lock.share()
                while True:
                    self._something_ended.clear()
                    is_going_on = await self._tried(turn)
                    if is_going_on is False:
                        break
                    wait_s = _TROUBLED_S if is_going_on is None else POLL_S
                    with suppress(TimeoutError):
                        async with asyncio.timeout(wait_s):
                            await self._something_ended.wait()
            finally:
                await self._stop()

    @staticmethod
    async def _tried(turn: Callable[[], Awaitable[bool]]) -> bool | None:
        """What a turn says; None when it failed."""
        try:
            return await turn()
        except RegistryError as refusal:
            log.warning("job_worker_waits", reason=str(refusal))
        except Exception:
            log.exception("job_worker_failed")
        return None

    async def _turn(self) -> bool:
        await self._bury()
        await self._schedules.ask()
        await self._begin()
        await self._forget()
        return True

    async def _begin(self, only: int | None = None) -> None:
        """Take what is due, and run it beside what is under way."""
        while kinds := self._handlers.keys() - self._under_way.keys():
            if not await rows.has_due(self._db, kinds, only):
                return
            job = await self._db.write(
                lambda tx, kinds=kinds: rows.take(tx, kinds, self._holder, self._lease_ms, only)  # type: ignore[misc]
            )
            if job is None:
                return
            running = Running(self._db, job, self._holder, self._lease_ms)
            attempt = Attempt(self._db, job, self._holder, running, self._handlers[job.kind], self._lease_s)
            task = asyncio.create_task(attempt.run())
            self._under_way[job.kind] = job.id, task
            task.add_done_callback(partial(self._note_end, job.kind))
            # let it begin: what was cancelled before would not put its job back
            await asyncio.sleep(0)

    def _note_end(self, kind: str, _: object) -> None:
        del self._under_way[kind]
        self._something_ended.set()

    async def _bury(self, *, is_alone: bool = False) -> bool:
        """Take over the jobs of workers that are dead: all, if this one is alone, else those not renewed.

        By the monotonic time of this process: a clock that jumps makes no worker dead, nor one alive.
        """
        now = time.monotonic()
        own = {job_id for job_id, _ in self._under_way.values()}
        others = [each for each in await rows.list_running(self._db) if each[0] not in own]
        self._seen = {each: self._seen.get(each, now) for each in others}
        for each, since in self._seen.items():
            if is_alone or now - since > self._lease_s:
                state = await self._db.write(
                    lambda tx, each=each: rows.take_from_the_dead(tx, *each)  # type: ignore[misc]
                )
                if state is not None:
                    log.warning("job_taken_over", job=each[0], state=state)
        return True

    async def _forget(self) -> None:
        """Now and then, remove the oldest of what has ended."""
        if time.monotonic() < self._forget_at:
            return
        before = now_ms() - self._settings.history_age // timedelta(milliseconds=1)
        old = await rows.list_forgettable(self._db, self._settings.history, before, _FORGET_BATCH)
        if old:
            await self._db.write(lambda tx: rows.forget(tx, old))
        if len(old) < _FORGET_BATCH:
            self._forget_at = time.monotonic() + _FORGET_EVERY_S

    async def _stop(self) -> None:
        tasks = [task for _, task in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
