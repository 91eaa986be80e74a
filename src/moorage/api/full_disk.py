"""What is said of a disk that is full."""

import time

import structlog

from moorage.errors import DatabaseFull, RegistryError, StorageFull
from moorage.lifecycle.garbage.status import Disk

_SAID_EVERY_S = 60.0

log = structlog.get_logger()


class FullDiskLog:
    """One for each worker. Every client that pushes meets the full disk: it is logged once a minute."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._said_at = -_SAID_EVERY_S

    def note(self, refusal: RegistryError, repository: str | None) -> None:
        """Say what was refused for want of room, if it was for that."""
        if not isinstance(refusal, StorageFull | DatabaseFull):
            return
        now = time.monotonic()
        if now - self._said_at < _SAID_EVERY_S:
            return
        self._said_at = now
        log.warning("storage_full", repository=repository, free_bytes=self._find_free())

    def _find_free(self) -> int | None:
        try:
            return self._disk.measure_free()
        except RegistryError:
            return None
