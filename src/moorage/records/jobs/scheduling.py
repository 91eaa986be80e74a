"""Jobs that are asked for again and again. Several workers may look at one schedule; one of them asks."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.records.jobs import rows
from moorage.schedule import Schedule

BY: Final = "schedule"
"""Who such a job was asked for by."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """When a kind of job is asked for, and a cheap question before: whether there is anything to do."""

    schedule: Schedule
    is_due: Callable[[Database], Awaitable[bool]] | None = None


class Schedules:
    """The schedules of one worker, by kind of job.

    A moment that passed while no worker ran is made up for once. A clock that was set back starts an
    interval anew, one that was set forward asks once too often.
    """

    def __init__(self, db: Database, scheduled: Mapping[str, Scheduled]) -> None:
        self._db = db
        self._scheduled = {
            kind: each for kind, each in scheduled.items() if each.schedule.next_after(0) is not None
        }
        # from when to when there is nothing to look for
        self._quiet: dict[str, tuple[int, int]] = {}

    async def ask(self) -> None:
        """Queue what is due. Call it as often as you like.

        Raises what a database does.
        """
        now = now_ms()
        for kind, each in self._scheduled.items():
            since, until = self._quiet.get(kind, (0, 0))
            if not since <= now < until:
                since = await self._look(kind, each, now)
                self._quiet[kind] = since, each.schedule.next_after(since) or now

    async def _look(self, kind: str, each: Scheduled, now: int) -> int:
        """Ask for a job if it is due; the moment from which to count to the next."""
        last = await rows.last_asked(self._db, kind)
        if last is None or last > now:
            await self._db.write(lambda tx: rows.note_asked(tx, kind, last, now))
            return now
        if (each.schedule.next_after(last) or now) > now:
            return last
        is_due = each.is_due is None or await each.is_due(self._db)
        if not is_due and each.schedule.every_ms is not None:
            # not worth a write: after a restart it is looked at a little early
            return now

        def work(tx: Transaction) -> None:
            if rows.note_asked(tx, kind, last, now) and is_due:
                rows.enqueue(tx, kind, {}, BY)

        await self._db.write(work)
        return now
