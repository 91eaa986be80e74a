"""One attempt at a job: its handler run, its lease kept, its end written down."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, Literal

import structlog

from moorage.database import Database
from moorage.errors import RegistryError
from moorage.records.jobs import rows
from moorage.records.jobs.rows import Job
from moorage.records.jobs.running import Cancelled, CannotBeDone, Handler, LeaseLost, Running

_RENEWALS: Final = 5
"""In the time of one lease."""
_AGAIN_MS: Final = 10_000
_AGAIN_MAX_MS: Final = 900_000
_FINAL_BELOW: Final = 500
_BUG: Final = "a mistake in Moorage, which the log of the job's worker has; please report it"

_Handling = asyncio.Future[Mapping[str, object] | None]

log = structlog.get_logger()


class Attempt:
    """A job that this worker has taken."""

    def __init__(
        self, db: Database, job: Job, holder: str, running: Running, handler: Handler, lease_s: float
    ) -> None:
        self._db = db
        self._job = job
        self._holder = holder
        self._running = running
        self._handler = handler
        self._lease_s = lease_s
        self._started = time.monotonic()

    async def run(self) -> None:
        """To the end, whatever it is. Cancelled, it queues the job again."""
        log.debug("job_started", job=self._job.id, kind=self._job.kind, attempt=self._job.attempts)
        handling: _Handling = asyncio.ensure_future(self._handler(self._running))
        renewing = asyncio.create_task(self._renew(handling))
        try:
            await self._conclude(handling)
        except RegistryError as refusal:
            # it stays as it is, is renewed no more, and so is run again
            log.warning("job_end_lost", job=self._job.id, kind=self._job.kind, reason=str(refusal))
        finally:
            renewing.cancel()

    async def _conclude(self, handling: _Handling) -> None:
        try:
            result = await handling
        except asyncio.CancelledError:
            if _is_stopping():
                await self._put_back()
                raise
            await self._stopped()
        except LeaseLost:
            self._say_lost()
        except Cancelled:
            if await self._end("cancelled"):
                log.info("job_cancelled", job=self._job.id, kind=self._job.kind)
        except Exception as error:  # noqa: BLE001 - told to whoever asked for the job
            await self._failed(error)
        else:
            if await self._end("done", result=result):
                seconds = round(time.monotonic() - self._started, 3)
                log.info("job_done", job=self._job.id, kind=self._job.kind, seconds=seconds)

    async def _stopped(self) -> None:
        """The handler was stopped, the worker not: by `_renew`, or by a mistake of its own."""
        if self._running.is_lost:
            self._say_lost()
        else:
            await self._failed(asyncio.CancelledError("the handler cancelled itself"))

    async def _failed(self, error: BaseException) -> None:
        match error:
            case CannotBeDone():
                await self._fail(str(error), is_final=True)
            case RegistryError():
                await self._fail(str(error), is_final=error.status < _FINAL_BELOW)
            case _:
                log.error("job_broke", job=self._job.id, kind=self._job.kind, exc_info=error)
                await self._fail(_BUG, is_final=False)

    async def _renew(self, handling: _Handling) -> None:
        """Keep the lease while the handler is busy. Once it is lost, stop the handler."""
        while not handling.done():
            await asyncio.sleep(self._lease_s / _RENEWALS)
            await self._running.renew()
            if self._running.is_lost:
                handling.cancel()
                return

    async def _end(
        self,
        state: Literal["done", "failed", "cancelled"],
        *,
        result: Mapping[str, object] | None = None,
        error: str | None = None,
    ) -> bool:
        """Write the end down; False, and said, when another has the job."""
        progress = self._running.progress
        is_ended = await self._db.write(
            lambda tx: rows.end(
                tx, self._job.id, self._holder, state, progress=progress, result=result, error=error
            )
        )
        if not is_ended:
            self._say_lost()
        return is_ended

    async def _fail(self, reason: str, *, is_final: bool) -> None:
        """For good, or to be tried again: after 10 s, then 40, and so on up to a quarter of an hour."""
        job = self._job
        is_last = is_final or job.attempts >= job.attempts_max
        if is_last:
            is_told = await self._end("failed", error=reason)
        else:
            delay_ms = min(_AGAIN_MS * 4 ** (job.attempts - 1), _AGAIN_MAX_MS)
            is_told = await self._db.write(
                lambda tx: rows.put_back(tx, job.id, self._holder, delay_ms=delay_ms, error=reason)
            )
        if is_told:
            log.warning(
                "job_failed",
                job=job.id,
                kind=job.kind,
                reason=reason,
                attempt=job.attempts,
                is_tried_again=not is_last,
            )

    async def _put_back(self) -> None:
        is_back = await self._db.write(lambda tx: rows.put_back(tx, self._job.id, self._holder))
        if is_back:
            log.info("job_put_back", job=self._job.id, kind=self._job.kind)

    def _say_lost(self) -> None:
        log.warning("job_lost", job=self._job.id, kind=self._job.kind)


def _is_stopping() -> bool:
    """Whether this task was told to stop, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
