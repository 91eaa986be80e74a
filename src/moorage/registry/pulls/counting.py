"""Counting pulls without making them wait."""

from typing import Final

import structlog

from moorage.clock import now_ms
from moorage.database import Database
from moorage.errors import RegistryError
from moorage.oci.names import RepositoryName
from moorage.registry.pulls import rows
from moorage.registry.pulls.rows import Pull

COUNTED_MAX: Final = 20_000
"""Tags and digests that a worker counts between two writes; what comes then is not counted."""

_WRITTEN_AT_ONCE: Final = 500

log = structlog.get_logger()


class Pulls:
    """The pulls that one worker process has answered since it last wrote them down."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counted: dict[tuple[RepositoryName, str], tuple[int, int]] = {}

    def count(self, repository: RepositoryName, reference: str) -> None:
        """One more pull, by a tag's name or a manifest's sha256 digest."""
        counted = self._counted
        key = (repository, reference)
        found = counted.get(key)
        if found is not None:
            counted[key] = (found[0] + 1, now_ms())
        elif len(counted) < COUNTED_MAX:
            counted[key] = (1, now_ms())

    async def write(self) -> None:
        """Write down what was counted. What cannot be written now is kept for the next time."""
        taken, self._counted = self._counted, {}
        pulls = [Pull(*key, *count) for key, count in taken.items()]
        for start in range(0, len(pulls), _WRITTEN_AT_ONCE):
            some = pulls[start : start + _WRITTEN_AT_ONCE]
            try:
                await self._db.write(lambda tx, some=some: rows.add(tx, some))  # type: ignore[misc]
            except RegistryError as refusal:
                self._take_back(pulls[start:])
                log.warning("pulls_not_written", reason=str(refusal))
                return

    def _take_back(self, pulls: list[Pull]) -> None:
        for each in pulls:
            key = (each.repository, each.reference)
            count, last_at = self._counted.get(key, (0, 0))
            if count or len(self._counted) < COUNTED_MAX:
                self._counted[key] = (count + each.pulls, max(last_at, each.last_at))
