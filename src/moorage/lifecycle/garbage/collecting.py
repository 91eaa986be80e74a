"""Collecting garbage: purge what the trash gives up, settle leases that are over, remove files.

Each step is a transaction of at most a batch, with others in between; a run that is killed is gone on
with by the next. Source of the order: a file goes only after a committed row said `deleting`, and the
row only after the file.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import structlog

from moorage.database import Database, Transaction
from moorage.lifecycle.garbage import rows
from moorage.lifecycle.garbage.timing import trusted_now_ms
from moorage.registry.blobs.store import BlobStore
from moorage.registry.repositories.rows import find_due
from moorage.registry.trash.repositories import purge_some
from moorage.registry.trash.restoring import purge_due
from moorage.threads import in_thread

BATCH = 200
"""Rows that one transaction changes; each takes a few indexes along."""

_PURGE_BATCH = 50
"""Manifests, each with its edges."""

_RESTS = 2
"""A run rests after each step for so many times as long as that took, but no longer than a second."""

_REST_MAX_S = 1.0

log = structlog.get_logger()

Say = Callable[[int, int | None, str], Awaitable[None]]
"""Told how much was done, of how much if that is known, and what; may raise to end the run."""


@dataclass(slots=True)
class Collected:
    """What a run did. `obstacle`: why it did nothing, or not all."""

    purged_manifests: int = 0
    purged_repositories: int = 0
    settled_leases: int = 0
    removed_blobs: int = 0
    removed_bytes: int = 0
    obstacle: str | None = None


class Garbage:
    """The collector of one store. Two at a time hinder each other in nothing but speed."""

    def __init__(self, db: Database, store: BlobStore, threads: Executor, lease_ms: int) -> None:
        self._db = db
        self._store = store
        self._threads = threads
        self._lease_ms = lease_ms

    async def collect(self, say: Say | None = None) -> Collected:
        """Remove all that is garbage by now; what that was.

        Raises what `say` and the disk raise; what was done until then is done.
        """
        done = Collected()
        for step in (self._purge_trash, self._purge_repositories, self._settle_and_remove):
            while done.obstacle is None and await _step_and_rest(step, done):
                if say is not None:
                    await say(done.removed_blobs, None, "blobs")
        if done.removed_blobs or done.purged_manifests or done.purged_repositories or done.obstacle:
            log.info(
                "garbage_collected",
                blobs=done.removed_blobs,
                bytes=done.removed_bytes,
                manifests=done.purged_manifests,
                repositories=done.purged_repositories,
                obstacle=done.obstacle,
            )
        return done

    async def _purge_trash(self, done: Collected) -> bool:
        def work(tx: Transaction) -> tuple[int, bool] | str:
            obstacle = rows.find_obstacle(tx)
            return obstacle or purge_due(tx, trusted_now_ms(tx), self._lease_ms, _PURGE_BATCH)

        purged = await self._db.write(work)
        if isinstance(purged, str):
            done.obstacle = purged
            return False
        done.purged_manifests += purged[0]
        return purged[1]

    async def _purge_repositories(self, done: Collected) -> bool:
        def work(tx: Transaction) -> bool | str | None:
            obstacle = rows.find_obstacle(tx)
            if obstacle is not None:
                return obstacle
            repository_id = find_due(tx, trusted_now_ms(tx))
            if repository_id is None:
                return None
            is_gone, loose = purge_some(tx, repository_id, BATCH)
            rows.mark_garbage(tx, loose)
            return is_gone

        is_gone = await self._db.write(work)
        if isinstance(is_gone, str):
            done.obstacle = is_gone
            return False
        done.purged_repositories += bool(is_gone)
        return is_gone is not None

    async def _settle_and_remove(self, done: Collected) -> bool:
        """What a step has settled the same step removes: a page is then written once for both."""
        is_settled = await self._settle(done)
        return done.obstacle is None and (await self._remove(done) or is_settled)

    async def _settle(self, done: Collected) -> bool:
        def work(tx: Transaction) -> int | str:
            obstacle = rows.find_obstacle(tx)
            if obstacle is not None:
                return obstacle
            settled, loose = rows.end_leases(tx, trusted_now_ms(tx), BATCH)
            rows.mark_garbage(tx, loose)
            return settled

        settled = await self._db.write(work)
        if isinstance(settled, str):
            done.obstacle = settled
            return False
        done.settled_leases += settled
        return settled > 0

    async def _remove(self, done: Collected) -> bool:
        """Files first, then the rows that say they are to go."""
        garbage = await rows.list_garbage(self._db, BATCH)
        if not garbage:
            return False
        done.obstacle = await rows.read_obstacle(self._db)
        if done.obstacle is not None:
            return False
        files = [(blob.digest, blob.generation) for blob in garbage]
        await in_thread(self._threads, self._store.remove_blobs, files)
        forgotten = await self._db.write(lambda tx: rows.forget_garbage(tx, garbage))
        done.removed_blobs += len(forgotten)
        done.removed_bytes += sum(blob.size for blob in forgotten)
        return True


async def _step_and_rest(step: Callable[[Collected], Awaitable[bool]], done: Collected) -> bool:
    """One step, then a rest in which the disk, the processors and the writer's turn are others'.

    What is much to do is never urgent, and the busier the machine is with others, the longer a step takes.
    """
    began = time.monotonic()
    is_going_on = await step(done)
    took_s = time.monotonic() - began
    await asyncio.sleep(min(took_s * _RESTS, _REST_MAX_S) if is_going_on else 0)
    return is_going_on
