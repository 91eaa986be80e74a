"""Keeping the collecting of garbage still by a lease, not a lock: whoever dies holds it for two minutes."""

import asyncio
import os
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

import structlog

from moorage.clock import now_ms
from moorage.database import Database
from moorage.errors import RegistryError
from moorage.lifecycle.store import rows

LEASE_MS: Final = 120_000
EVERY_S = 20.0

log = structlog.get_logger()


class GarbagePause:
    """From `async with` to its end every file stays where it is, unless `is_over`."""

    def __init__(self, db: Database, purpose: str) -> None:
        self._db = db
        self._holder = f"{purpose} {os.getpid()} {uuid4().hex[:8]}"
        self._keeping: asyncio.Task[None] | None = None
        self.is_over = False
        """Whether the lease ran out meanwhile, so that files may have gone."""

    async def __aenter__(self) -> Self:
        await self._db.write(lambda tx: rows.pause_garbage(tx, self._holder, now_ms() + LEASE_MS))
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def _keep(self) -> None:
        while not self.is_over:
            await asyncio.sleep(EVERY_S)
            await self.prolong()

    async def prolong(self) -> None:
        """Hold it for two minutes more."""
        try:
            is_held = await self._db.write(
                lambda tx: rows.prolong_pause(tx, self._holder, now_ms() + LEASE_MS)
            )
        except RegistryError as refusal:
            # tried again well before it is over
            log.warning("pause_not_prolonged", reason=str(refusal))
            return
        self.is_over = self.is_over or not is_held

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._db.write(lambda tx: rows.end_pause(tx, self._holder))
