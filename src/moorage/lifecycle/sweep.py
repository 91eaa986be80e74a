"""What one job worker does for all, now and then: expire uploads, compute missing sha512 digests.

The worker that holds the lock does it; when it dies another takes over.
"""

import asyncio
import fcntl
import os
from pathlib import Path

import structlog

from moorage.clock import now_ms
from moorage.database import Database
from moorage.errors import RegistryError
from moorage.identity.tokens.rows import drop_dead_tokens
from moorage.lifecycle.store.sequence import Sequence
from moorage.registry.blobs.second_digest import SecondDigests
from moorage.registry.uploads.uploading import Uploads

EVERY_S = 10.0
_TOKENS_BATCH = 500
_DEAD_KEPT_MS = 30 * 86_400_000

log = structlog.get_logger()


class Sweep:
    """A background task of a worker: `run` until it is cancelled."""

    def __init__(
        self, lock: Path, db: Database, uploads: Uploads, second_digests: SecondDigests, sequence: Sequence
    ) -> None:
        self._lock = lock
        self._db = db
        self._uploads = uploads
        self._second_digests = second_digests
        self._sequence = sequence

    async def run(self) -> None:
        """Wait to be the one, then sweep for as long as this worker lives."""
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                if _is_locked(fd):
                    await self._sweep()
                await asyncio.sleep(EVERY_S)
        finally:
            os.close(fd)

    async def _sweep(self) -> None:
        """Once. What fails is tried again at the next turn."""
        try:
            await self._sequence.keep()
            await self._uploads.expire()
            await self._uploads.drop_strays()
            await self._second_digests.compute()
            await self._db.write(lambda tx: drop_dead_tokens(tx, now_ms() - _DEAD_KEPT_MS, _TOKENS_BATCH))
        except RegistryError as refusal:
            log.warning("sweep_failed", reason=str(refusal))
        except Exception:
            log.exception("sweep_failed")


def _is_locked(fd: int) -> bool:
    """Whether this process holds the lock, now or already."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
