"""A job as its handler sees it: what is to be done, and whom to tell how far it is."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from moorage.database import Database, Transaction
from moorage.errors import RegistryError
from moorage.records.jobs import rows
from moorage.records.jobs.rows import Job, Progress

SAY_EVERY_S: Final = 1.0


class Cancelled(Exception):
    """Someone asked the job to stop."""


class LeaseLost(Exception):
    """Another worker has the job now: this one was taken for dead."""


class CannotBeDone(Exception):
    """The job fails for good; the sentence says why and what to do. It is not tried again."""


class Running:
    """A job under way."""

    def __init__(self, db: Database, job: Job, holder: str, lease_ms: int) -> None:
        self.id = job.id
        self.kind = job.kind
        self.arguments: dict[str, Any] = job.arguments
        self.created_by = job.created_by
        self.attempt = job.attempts
        """From 1; after the first, some of it may have been done already."""
        self.progress: Progress | None = None
        self.is_lost = False
        self._db = db
        self._holder = holder
        self._lease_ms = lease_ms
        self._is_cancelling = False
        self._said_at = float("-inf")

    async def say(self, done: int, total: int | None, unit: str, note: str = "") -> None:
        """How far it is: `done` of `total` of a `unit`, as "blobs" or "bytes". Call it at least every two
        seconds, and as often as you like: it is written down once a second at most.

        Raises Cancelled, LeaseLost: let them pass.
        """  # noqa: D205 - one sentence more is needed
        self.progress = Progress(done, total, unit, note)
        if time.monotonic() - self._said_at >= SAY_EVERY_S:
            await self.renew()
        if self.is_lost:
            raise LeaseLost
        if self._is_cancelling:
            raise Cancelled

    async def renew(self) -> None:
        """Write down how far it is, and learn whether it shall go on. Where nothing can be written, go on."""
        self._said_at = time.monotonic()
        progress = self.progress

        def work(tx: Transaction) -> bool | None:
            return rows.renew(tx, self.id, self._holder, self._lease_ms, progress)

        try:
            is_cancelling = await self._db.write(work)
        except RegistryError:
            # a full disk; no one else can take the job either
            return
        self.is_lost = is_cancelling is None
        self._is_cancelling = bool(is_cancelling)


Handler = Callable[[Running], Awaitable[Mapping[str, object] | None]]
"""Does the work of one kind of job and returns its result. It may be stopped at any `await`, or killed,
and is then run again from its beginning: it is idempotent, and goes on from what it finds done.
"""
