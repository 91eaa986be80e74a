"""The job that puts untagged manifests into the trash, a few in each transaction."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from moorage.clock import now_ms
from moorage.config import DeleteSettings
from moorage.database import Database, Transaction
from moorage.lifecycle.garbage.timing import trusted_now_ms
from moorage.lifecycle.untagged import rows
from moorage.lifecycle.untagged.rows import Untied
from moorage.records.audit.rows import Actor, record
from moorage.records.jobs.running import Running
from moorage.registry.trash.deleting import put_in_trash

KIND: Final = "untagged"
_AT_ONCE: Final = 50
_BY: Final = Actor("untagged for long")

log = structlog.get_logger()


@dataclass(slots=True)
class _Turn:
    """What one transaction looked at and did."""

    seen: int = 0
    deletions: int = 0
    manifests: int = 0
    frees_bytes: int = 0


class Untagged:
    """The job's handler. `age`: how long a manifest is of use that nothing leads to; 0: for ever."""

    def __init__(self, db: Database, settings: DeleteSettings, age: timedelta) -> None:
        self._db = db
        self._settings = settings
        self._age_ms = int(age.total_seconds() * 1000)

    async def is_due(self, db: Database) -> bool:
        """Whether there is anything to look at."""
        return self._is_on and await rows.has_due(db, now_ms() - self._age_ms)

    @property
    def _is_on(self) -> bool:
        return self._age_ms > 0 and self._settings.enabled

    async def run(self, running: Running) -> Mapping[str, object]:
        """Put away what is due; what came of it."""
        done = _Turn()
        while self._is_on:
            turn = await self._db.write(self._take_some)
            done.deletions += turn.deletions
            done.manifests += turn.manifests
            done.frees_bytes += turn.frees_bytes
            await running.say(done.manifests, None, "manifests")
            if turn.seen < _AT_ONCE:
                break
            await asyncio.sleep(0)
        if done.manifests:
            log.info("untagged_retired", manifests=done.manifests)
        return {"manifests": done.manifests, "frees_bytes": done.frees_bytes}

    def _take_some(self, tx: Transaction) -> _Turn:
        turn = _Turn()
        now = trusted_now_ms(tx)
        for manifest in rows.list_due(tx, now - self._age_ms, _AT_ONCE):
            turn.seen += 1
            found = rows.look(tx, manifest)
            if found is None:
                # its repository may be restored
                rows.put_off(tx, manifest, now)
            elif found.is_tagged or found.is_in_trash or found.is_needed:
                rows.forget(tx, manifest)
            elif found.used_at > now - self._age_ms:
                rows.put_off(tx, manifest, found.used_at)
            else:
                self._take(tx, found, turn)
        return turn

    def _take(self, tx: Transaction, found: Untied, turn: _Turn) -> None:
        rows.forget(tx, found.manifest)
        deleted = put_in_trash(
            tx, found.repository_id, found.manifest, "untagged", _BY, now_ms() + self._settings.grace_ms
        )
        record(tx, _BY, "delete", found.repository, detail=f"manifest {deleted.digests[0]}")
        turn.deletions += 1
        turn.manifests += len(deleted.digests)
        turn.frees_bytes += deleted.frees_bytes
