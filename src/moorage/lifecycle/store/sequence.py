"""Noticing that the database was put back: a number in it, and the same in a file beside it.

The database is written first, durably, then the file: after a crash the file is behind or level, never ahead.
"""

import asyncio
import os
from pathlib import Path

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import CheckFirst, StorageFailed
from moorage.lifecycle.store import rows
from moorage.lifecycle.store.rows import StoreState
from moorage.records.audit.rows import Actor, record

EVERY_MS = 60_000
FILE_NAME = "moorage.sequence"

log = structlog.get_logger()


class Sequence:
    """The number of one data folder, as one process raises and compares it."""

    def __init__(self, db: Database, data: Path) -> None:
        self._db = db
        self._path = data / FILE_NAME
        self._raised_at = 0

    async def compare(self) -> StoreState:
        """Mistrust the store when the file is ahead of the database; the state as it is then.

        To be done before anything is taken from the disk.
        """
        state = await rows.read_state(self._db)
        ahead = read_sequence(self._path)
        if ahead <= state.sequence or state.mistrusted is not None:
            return state
        reason = (
            f"the database is older than its files: it knows of change {state.sequence}, they of {ahead}."
            " It was put back, or lost moorage.db-wal"
        )
        if await self._db.write(lambda tx: rows.mistrust(tx, reason)):
            log.error(
                "store_mistrusted", reason=reason, remedy="moorage store check, then moorage store accept"
            )
        return await rows.read_state(self._db)

    async def keep(self) -> None:
        """Compare and raise, if that was not done within the last minute.

        Raises StorageFailed (500) and what the database raises.
        """
        # a clock that was set back must not stop this
        if 0 <= now_ms() - self._raised_at < EVERY_MS:
            return
        if (await self.compare()).mistrusted is None:
            await self._raise()
        self._raised_at = now_ms()

    async def _raise(self) -> None:
        def work(tx: Transaction) -> int:
            state = rows.find_state(tx)
            if state.mistrusted is None:
                rows.set_sequence(tx, state.sequence + 1)
            return rows.find_state(tx).sequence

        raised = await self._db.write(work)
        await asyncio.to_thread(write_sequence, self._path, raised)

    async def accept(self, accepted_by: Actor) -> StoreState:
        """Trust the store again, whatever is lost: an operator has looked.

        Raises CheckFirst (409) when no check was made since it came to be mistrusted.
        """
        ahead = read_sequence(self._path)

        def work(tx: Transaction) -> bool:
            state = rows.find_state(tx)
            if state.mistrusted is None:
                return False
            if not state.is_looked_at:
                raise CheckFirst(reason=state.mistrusted)
            rows.set_sequence(tx, ahead)
            rows.trust(tx)
            record(tx, accepted_by, "accept", "store", detail=state.mistrusted)
            return True

        if await self._db.write(work):
            log.info("store_accepted", accepted_by=str(accepted_by))
            await self._raise()
        return await rows.read_state(self._db)


def read_sequence(path: Path) -> int:
    """The number in the file; 0 where there is none that can be read."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(text) if text.isdecimal() and len(text) < 19 else 0  # noqa: PLR2004 - what a row can hold


def write_sequence(path: Path, sequence: int) -> None:
    """Put a number into the file, whole and durable, unless a higher one is there.

    Raises StorageFailed (500).
    """
    if read_sequence(path) >= sequence:
        return
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, b"%d\n" % sequence)
            os.fsync(fd)
        finally:
            os.close(fd)
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StorageFailed from error
